# Writes PROGRAM's man page to OUT: cmake -DPROGRAM=brc -DOUT=brc.1 -P man.cmake
execute_process(COMMAND ${PROGRAM} help --man OUTPUT_FILE ${OUT} RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  file(REMOVE ${OUT})
  message(FATAL_ERROR "${PROGRAM} help --man ended with ${status}")
endif()
