# Warnings and hardening for every target of the project.
# -ffp-contract=off keeps results independent of the compiler.
add_library(opt_flags INTERFACE)
target_compile_definitions(opt_flags INTERFACE _GNU_SOURCE OPT_VERSION="${PROJECT_VERSION}")
target_compile_options(opt_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -fno-math-errno -ffp-contract=off -fno-common -fvisibility=hidden
  -fPIC -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)
if(OPT_WERROR)
  target_compile_options(opt_flags INTERFACE -Werror)
endif()
if(OPT_ASSERT)
  foreach(type RELEASE RELWITHDEBINFO MINSIZEREL)
    string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_${type} "${CMAKE_C_FLAGS_${type}}")
  endforeach()
endif()

if(OPT_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "OPT_FUZZ needs clang (libFuzzer); set CC=clang or use the preset fuzz")
  endif()
  target_compile_options(opt_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(OPT_SANITIZE)
  target_compile_options(opt_flags INTERFACE
    -fsanitize=${OPT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g)
  target_link_options(opt_flags INTERFACE -fsanitize=${OPT_SANITIZE})
else()
  target_compile_options(opt_flags INTERFACE -fstack-protector-strong -fstack-clash-protection)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_compile_options(opt_flags INTERFACE -fcf-protection)
  endif()
  target_compile_definitions(opt_flags INTERFACE
    $<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=2>)
endif()
target_link_options(opt_flags INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)

include(CheckPIESupported)
check_pie_supported(LANGUAGES C)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
