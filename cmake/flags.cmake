# Warnings and hardening for every target of the project; -ffp-contract=off keeps results independent of the compiler.
add_library(opt_flags INTERFACE)
target_compile_definitions(opt_flags INTERFACE _GNU_SOURCE OPT_VERSION="${PROJECT_VERSION}")
target_compile_options(opt_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -fno-math-errno -ffp-contract=off -fno-common -fstack-protector-strong -fvisibility=hidden -fPIC
  -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)
if(OPT_WERROR)
  target_compile_options(opt_flags INTERFACE -Werror)
endif()
if(OPT_SANITIZE)
  target_compile_options(opt_flags INTERFACE -fsanitize=${OPT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g)
  target_link_options(opt_flags INTERFACE -fsanitize=${OPT_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  target_compile_definitions(opt_flags INTERFACE _FORTIFY_SOURCE=2)
endif()
target_link_options(opt_flags INTERFACE -Wl,-z,relro,-z,now)
