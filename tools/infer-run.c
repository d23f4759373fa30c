/** infer-run: runs, measures and compares models; a file of tools/infer-run/ for each command. */
#include "infer-run/run.h"

int main(int argc, char **argv) {
    const cli_command commands[] = {
        run_generate_command,   run_chat_command,    run_batch_command,   run_profile_command,
        run_perplexity_command, run_compare_command, run_inspect_command, run_bench_command,
    };
    const cli_tool tool = {"infer-run", "run, measure and compare models", commands,
                           sizeof commands / sizeof commands[0]};
    return cli_main(&tool, argc, argv);
}
