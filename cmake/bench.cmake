# Every bench/*.c is one program that prints measurements; none of them is a test.
file(GLOB OPT_BENCH_MAINS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/*.c)
foreach(main ${OPT_BENCH_MAINS})
  get_filename_component(name ${main} NAME_WE)
  add_executable(${name} ${main})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/libopt)
  target_link_libraries(${name} PRIVATE opt opt_flags m)
endforeach()
