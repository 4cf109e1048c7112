# cmake -DFILES="a.spv;b.spv" -DOUT=FILE.c -P embed_spirv.cmake: modules as a C table (vk_modules of backends/vulkan/vulkan.h),
# named like their files.
set(code "// Made by cmake/embed_spirv.cmake: do not edit.\n#include \"backends/vulkan/vulkan.h\"\n\n")
set(rows "")
set(index 0)
foreach(file IN LISTS FILES)
  file(READ "${file}" hex HEX)
  get_filename_component(name "${file}" NAME_WE)
  # SPIR-V is words; files have them in little-endian order.
  string(REGEX REPLACE "(..)(..)(..)(..)" "0x\\4\\3\\2\\1," hex "${hex}")
  string(APPEND code "static const uint32_t words_${index}[] = {${hex}};\n")
  string(APPEND rows "    {\"${name}\", words_${index}, sizeof words_${index}},\n")
  math(EXPR index "${index} + 1")
endforeach()
string(APPEND code "\nconst vk_module vk_modules[] = {\n${rows}    {0},\n};\n")
file(WRITE "${OUT}" "${code}")
