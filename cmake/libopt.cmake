# One static library from every .c file below libopt/. Kernel files get their instruction set by
# name: libopt/kern/x86/*_avx2.c, *_avxvnni.c, *_avx512.c, *_amx.c.
file(GLOB_RECURSE OPT_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/libopt/*.c)
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(FILTER OPT_SOURCES EXCLUDE REGEX "/libopt/kern/x86/")
endif()
add_library(opt STATIC ${OPT_SOURCES})
target_include_directories(opt
  PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>
  PRIVATE ${CMAKE_SOURCE_DIR}/libopt)
target_link_libraries(opt PRIVATE opt_flags PkgConfig::JANSSON PkgConfig::PCRE2 PkgConfig::UTF8PROC
  PkgConfig::XXHASH PkgConfig::CRYPTO Threads::Threads m)

# Optimized even in debug builds: gcc's intrinsics are macros otherwise, which do not pass -Wconversion.
set(OPT_AVX2_FLAGS $<$<CONFIG:Debug>:-O1> -mavx2 -mfma -mf16c -mbmi -mbmi2)
set(OPT_AVX512_FLAGS ${OPT_AVX2_FLAGS} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
  -mprefer-vector-width=512)
set(OPT_AMX_FLAGS ${OPT_AVX512_FLAGS} -mavx512bf16 -mavx512vbmi -mamx-tile -mamx-int8 -mamx-bf16)
foreach(source ${OPT_SOURCES})
  if(source MATCHES "_avx2\\.c$")
    set(isa_flags ${OPT_AVX2_FLAGS})
  elseif(source MATCHES "_avxvnni\\.c$")
    set(isa_flags ${OPT_AVX2_FLAGS} -mavxvnni)
  elseif(source MATCHES "_avx512\\.c$")
    set(isa_flags ${OPT_AVX512_FLAGS})
  elseif(source MATCHES "_amx\\.c$")
    set(isa_flags ${OPT_AMX_FLAGS})
  else()
    continue()
  endif()
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${isa_flags}")
endforeach()
# What --version names.
set_source_files_properties(${CMAKE_SOURCE_DIR}/libopt/base/text.c PROPERTIES COMPILE_DEFINITIONS
  "OPT_LIBRARIES=\"jansson ${JANSSON_VERSION}, PCRE2 ${PCRE2_VERSION}, utf8proc ${UTF8PROC_VERSION}, xxHash ${XXHASH_VERSION}, OpenSSL ${CRYPTO_VERSION}\"")
