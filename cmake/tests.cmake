# Every tests/{unit,kern,format,golden,fault}/test_*.c is one cmocka program and one ctest whose
# label is its folder; they may see libopt's inside. A folder of the program's name holds its parts. tests/cli/*.sh are run with the tools in PATH.
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)

# Names of the tests that scripts/test.sh repeats under the thread sanitizer (label "threads").
set(OPT_THREAD_TESTS "^test_(ctx|mem|pool|prefix|outfile|exec|executor|parallel|gram|stream)")
add_custom_target(thread_tests)

file(GLOB OPT_TEST_MAINS CONFIGURE_DEPENDS
  ${CMAKE_SOURCE_DIR}/tests/unit/test_*.c ${CMAKE_SOURCE_DIR}/tests/kern/test_*.c
  ${CMAKE_SOURCE_DIR}/tests/format/test_*.c ${CMAKE_SOURCE_DIR}/tests/golden/test_*.c
  ${CMAKE_SOURCE_DIR}/tests/fault/test_*.c)
foreach(main ${OPT_TEST_MAINS})
  get_filename_component(name ${main} NAME_WE)
  get_filename_component(folder ${main} DIRECTORY)
  get_filename_component(labels ${folder} NAME)
  set(test ${labels}/${name})
  file(GLOB parts CONFIGURE_DEPENDS ${folder}/${name}/*.c)
  add_executable(${name} ${main} ${parts})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/libopt ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE OPT_TESTDATA="${CMAKE_SOURCE_DIR}/testdata")
  target_link_libraries(${name} PRIVATE opt opt_flags PkgConfig::CMOCKA Threads::Threads m)
  add_test(NAME ${test} COMMAND ${name})
  if(name MATCHES "${OPT_THREAD_TESTS}")
    list(APPEND labels threads)
    add_dependencies(thread_tests ${name})
  endif()
  set_tests_properties(${test} PROPERTIES LABELS "${labels}" TIMEOUT 600 SKIP_RETURN_CODE 77)
endforeach()

# Tests of the command line see this checker and the tools in PATH.
add_executable(json_check ${CMAKE_SOURCE_DIR}/tests/cli/json_check.c)
target_include_directories(json_check PRIVATE ${CMAKE_SOURCE_DIR}/libopt)
target_link_libraries(json_check PRIVATE opt opt_flags)
file(GLOB OPT_CLI_TESTS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/cli/test_*.sh)
foreach(script ${OPT_CLI_TESTS})
  get_filename_component(name ${script} NAME_WE)
  add_test(NAME cli/${name} COMMAND bash ${script} ${CMAKE_BINARY_DIR} ${CMAKE_SOURCE_DIR})
  set_tests_properties(cli/${name} PROPERTIES LABELS cli TIMEOUT 600 SKIP_RETURN_CODE 77)
endforeach()

# Fuzz targets: tests/fuzz/fuzz_<parser>.c with LLVMFuzzerTestOneInput. Without OPT_FUZZ they replay
# tests/fuzz/corpus/<parser>/.
file(GLOB OPT_FUZZERS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_*.c)
foreach(main ${OPT_FUZZERS})
  get_filename_component(name ${main} NAME_WE)
  string(REPLACE "fuzz_" "" parser ${name})
  add_executable(${name} ${main})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/libopt ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE opt opt_flags m)
  if(OPT_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/fuzz/replay_main.c)
    add_test(NAME fuzz/${parser} COMMAND ${name} ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${parser})
    set_tests_properties(fuzz/${parser} PROPERTIES LABELS fuzz TIMEOUT 300)
  endif()
endforeach()

# Checks of the sources themselves.
add_test(NAME style/layers COMMAND ${CMAKE_SOURCE_DIR}/scripts/check_layers.sh)
add_test(NAME style/headers COMMAND ${CMAKE_SOURCE_DIR}/scripts/check_headers.sh)
add_test(NAME style/test_check_layers
  COMMAND ${CMAKE_SOURCE_DIR}/tests/style/test_check_layers.sh ${CMAKE_SOURCE_DIR})
set_tests_properties(style/layers style/headers style/test_check_layers PROPERTIES LABELS style TIMEOUT 120)
set_property(TEST style/headers PROPERTY ENVIRONMENT "CC=${CMAKE_C_COMPILER}")
if(NOT OPT_SANITIZE AND NOT OPT_FUZZ) # instrumentation adds variables
  add_test(NAME style/globals
    COMMAND ${CMAKE_SOURCE_DIR}/scripts/check_globals.sh $<TARGET_FILE:opt>)
  set_tests_properties(style/globals PROPERTIES LABELS style TIMEOUT 120)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND CMAKE_BUILD_TYPE STREQUAL "Release")
    add_test(NAME style/spills
      COMMAND ${CMAKE_SOURCE_DIR}/scripts/check_spills.sh $<TARGET_FILE:opt>)
    add_test(NAME style/test_check_spills
      COMMAND ${CMAKE_SOURCE_DIR}/tests/style/test_check_spills.sh ${CMAKE_SOURCE_DIR})
    set_tests_properties(style/spills style/test_check_spills PROPERTIES LABELS style TIMEOUT 120)
    set_property(TEST style/test_check_spills PROPERTY ENVIRONMENT "CC=${CMAKE_C_COMPILER}")
  endif()
endif()

if(OPT_SANITIZE) # out of memory is a case that is tested: the allocator must return NULL
  get_property(all_tests DIRECTORY PROPERTY TESTS)
  set_property(TEST ${all_tests} APPEND PROPERTY ENVIRONMENT
    "ASAN_OPTIONS=allocator_may_return_null=1:detect_stack_use_after_return=1:strict_string_checks=1"
    "UBSAN_OPTIONS=print_stacktrace=1"
    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:allocator_may_return_null=1")
endif()
