# One static library from every .c file below libopt/. Kernel folders get their instruction set by file name:
# libopt/kern/x86/*_avx2.c, *_avx512.c, *_amx.c.
file(GLOB_RECURSE OPT_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/libopt/*.c)
add_library(opt STATIC ${OPT_SOURCES})
target_include_directories(opt PUBLIC ${CMAKE_SOURCE_DIR}/include PRIVATE ${CMAKE_SOURCE_DIR}/libopt)
target_link_libraries(opt PRIVATE opt_flags PkgConfig::JANSSON PkgConfig::PCRE2 PkgConfig::UTF8PROC PkgConfig::XXHASH
  PkgConfig::CRYPTO Threads::Threads m)
foreach(source ${OPT_SOURCES})
  if(source MATCHES "_avx2\\.c$")
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mbmi2")
  elseif(source MATCHES "_avxvnni\\.c$")
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mbmi2;-mavxvnni")
  elseif(source MATCHES "_avx512\\.c$")
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
      "-mavx2;-mfma;-mf16c;-mbmi2;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mprefer-vector-width=512")
  elseif(source MATCHES "_amx\\.c$")
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
      "-mavx2;-mfma;-mf16c;-mbmi2;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mavx512bf16;-mamx-tile;-mamx-int8;-mamx-bf16")
  endif()
endforeach()
