/**
 * The AMX instructions in plain C, for the rows' own machine code on machines without them: what
 * the processor refuses is decoded, done on tiles in memory, and stepped over. What is not as Intel
 * describes it (no configuration, tiles of other sizes than a product needs) ends the program with
 * a message.
 */
#ifndef OPT_TESTS_KERN_TILE_MACHINE_H
#define OPT_TESTS_KERN_TILE_MACHINE_H

#include <stdint.h>

/** From here on. x86-64 only. */
void tile_machine_start(void);
/** Until here. Returns the number of instructions that were done. The tiles must be released. */
int64_t tile_machine_stop(void);

#endif
