# llama.cpp as the imported target llama::llama, however it was built.
#
# Looked for in this order: -DTANDEM_LLAMA_DIR=; the environment's TANDEM_LLAMA_DIR; what
# experiments/setup.sh built, in ${TANDEM_DEPS:-~/.cache/tandem}/llama-current; what was found here
# before. The directory has include/ and lib/ (or lib64/), as `cmake --install` of llama.cpp leaves
# them, static or shared. Users of the target get
#   TANDEM_LLAMA_BUILD  a string that names this build: versions and key, or the libraries' hash
# TANDEM_LLAMA_LIBS names what else a static build of the user's needs (gomp, cudart ...).
set(TANDEM_LLAMA_LIBS "" CACHE STRING "Further libraries that the llama.cpp build needs")

string(CONCAT llama_remedy
    "Run `sh experiments/quickstart.sh`, which builds llama.cpp; or name your own build with "
    "-DTANDEM_LLAMA_DIR=DIR (a directory with include/ and lib/); or build the simulator alone: "
    "cmake --preset sim")

set(llama_dir "${TANDEM_LLAMA_DIR}")
if(NOT llama_dir)
    set(llama_dir "$ENV{TANDEM_LLAMA_DIR}")
endif()
if(NOT llama_dir)
    if(DEFINED ENV{TANDEM_DEPS})
        set(llama_deps "$ENV{TANDEM_DEPS}")
    else()
        set(llama_deps "$ENV{HOME}/.cache/tandem")
    endif()
    set(llama_dir "${llama_deps}/llama-current")
    # A build that configures itself again may lack the environment it was first configured in.
    if(NOT EXISTS "${llama_dir}" AND TANDEM_LLAMA_FOUND)
        set(llama_dir "${TANDEM_LLAMA_FOUND}")
    endif()
    if(NOT EXISTS "${llama_dir}")
        message(FATAL_ERROR "No llama.cpp build in ${llama_dir}. ${llama_remedy}")
    endif()
endif()
# The link that moves with each set-up is resolved: a build tree stays with one build.
get_filename_component(llama_dir "${llama_dir}" REALPATH BASE_DIR "${CMAKE_BINARY_DIR}")

find_path(llama_include NAMES llama.h PATHS "${llama_dir}/include" NO_DEFAULT_PATH NO_CACHE)
find_library(llama_main NAMES llama PATHS "${llama_dir}/lib" "${llama_dir}/lib64"
    NO_DEFAULT_PATH NO_CACHE)
foreach(part "include/llama.h:${llama_include}" "lib/libllama:${llama_main}")
    if(part MATCHES "^([^:]*):.*NOTFOUND$")
        message(FATAL_ERROR "${llama_dir} has no ${CMAKE_MATCH_1}, so it is no llama.cpp build. "
            "${llama_remedy}")
    endif()
endforeach()
if(NOT EXISTS "${llama_include}/ggml-backend.h")
    message(FATAL_ERROR "${llama_include} has llama.h but not ggml-backend.h: copy ggml's headers "
        "(ggml/include of the same llama.cpp) there, or use `cmake --install`. ${llama_remedy}")
endif()

# libggml picks back ends, back ends use libggml-base: that is the order a static link needs.
get_filename_component(llama_libdir "${llama_main}" DIRECTORY)
get_filename_component(llama_ext "${llama_main}" EXT)
string(REGEX MATCH "\\.(so|dylib|a|lib)" llama_ext "${llama_ext}")
file(GLOB llama_backends "${llama_libdir}/libggml-*${llama_ext}")
set(llama_ggml "${llama_libdir}/libggml${llama_ext}")
set(llama_base "${llama_libdir}/libggml-base${llama_ext}")
list(REMOVE_ITEM llama_backends "${llama_base}")
if(llama_ext MATCHES "^\\.(so|dylib)$")
    set(llama_kind SHARED)
    set(llama_backends) # libggml has them as its own dependencies, or loads them
else()
    set(llama_kind STATIC)
endif()
set(llama_parts)
foreach(lib ${llama_ggml} ${llama_backends} ${llama_base})
    if(NOT EXISTS "${lib}")
        message(FATAL_ERROR "${llama_libdir} has libllama but not ${lib}. ${llama_remedy}")
    endif()
    list(APPEND llama_parts "${lib}")
endforeach()

# The name of the build: setup.sh's own, or for a user's build the hash of its libraries.
if(EXISTS "${llama_dir}/BUILD")
    file(STRINGS "${llama_dir}/BUILD" llama_text REGEX "^(engine|key): ")
    list(JOIN llama_text ", " llama_build) # a definition cannot hold a semicolon
    string(REGEX REPLACE "(engine|key): " "" llama_build "${llama_build}")
else()
    set(llama_hashes "")
    foreach(lib ${llama_main} ${llama_parts})
        file(SHA256 "${lib}" hash)
        string(APPEND llama_hashes "${hash}")
    endforeach()
    string(SHA256 llama_hashes "${llama_hashes}")
    string(SUBSTRING "${llama_hashes}" 0 16 llama_build)
    set(llama_build "user build, ${llama_build}")
endif()

# Its headers are SYSTEM, as those of every imported target; C++ links, also where only C is ours.
add_library(llama::llama ${llama_kind} IMPORTED GLOBAL)
set_target_properties(llama::llama PROPERTIES
    IMPORTED_LOCATION "${llama_main}"
    IMPORTED_LINK_INTERFACE_LANGUAGES CXX
    INTERFACE_INCLUDE_DIRECTORIES "${llama_include}"
    INTERFACE_COMPILE_DEFINITIONS "TANDEM_LLAMA_BUILD=\"${llama_build}\""
    INTERFACE_LINK_LIBRARIES
        "${llama_parts};${TANDEM_LLAMA_LIBS};Threads::Threads;${CMAKE_DL_LIBS};m")

if(llama_kind STREQUAL SHARED AND NOT APPLE)
    # The installed libraries have no run path of their own: ours must hold for them as well.
    set_target_properties(llama::llama PROPERTIES
        INTERFACE_LINK_OPTIONS "LINKER:--disable-new-dtags")
endif()

# Nothing else here is C++, and to find libstdc++'s symbols takes half of the time before main.
if(llama_kind STREQUAL STATIC AND NOT TANDEM_SANITIZE)
    include(CheckLinkerFlag)
    check_linker_flag(CXX "-static-libstdc++" TANDEM_STATIC_CXX)
    if(TANDEM_STATIC_CXX)
        set_target_properties(llama::llama PROPERTIES
            INTERFACE_LINK_OPTIONS "-static-libstdc++;-static-libgcc")
    endif()
endif()

# One call from each header that we use; the empty C++ file makes C++ the linker's language.
set(llama_probe "${CMAKE_BINARY_DIR}/CMakeFiles/llama-probe")
file(WRITE "${llama_probe}/probe.c"
    "#include <llama.h>\n#include <ggml-backend.h>\n"
    "int main(void)\n{\n"
    "    struct llama_model_quantize_params p = llama_model_quantize_default_params();\n"
    "    struct llama_context_params c = llama_context_default_params();\n"
    "    llama_memory_seq_rm(0, 0, 0, -1);\n"
    "    p.pure = c.kv_unified;\n"
    "    return (int)ggml_backend_dev_count() + p.pure + (int)c.flash_attn_type;\n}\n")
file(WRITE "${llama_probe}/probe.cpp" "")
try_compile(llama_ok "${llama_probe}/build"
    SOURCES "${llama_probe}/probe.c" "${llama_probe}/probe.cpp"
    LINK_LIBRARIES llama::llama OUTPUT_VARIABLE llama_output)
if(NOT llama_ok)
    message(FATAL_ERROR "A program against the llama.cpp build in ${llama_dir} does not compile "
        "and link:\n${llama_output}\nUndefined symbols of a static build are named with "
        "-DTANDEM_LLAMA_LIBS= (for example gomp); missing functions mean an older llama.cpp: "
        "0.5.0 is what this project is built on. ${llama_remedy}")
endif()
set(TANDEM_LLAMA_FOUND "${llama_dir}" CACHE INTERNAL "llama.cpp build that was found last")
message(STATUS "llama.cpp: ${llama_build} (${llama_dir})")

# Whether products of packed Q4_0 weights and attention can be wrapped (q4_kernel.c,
# f16_kernel.c, attention_kernel.c): a static build that has them.
unset(TANDEM_LLAMA_WRAPS CACHE)
if(llama_kind STREQUAL STATIC AND CMAKE_SYSTEM_NAME STREQUAL Linux AND
        CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
    file(WRITE "${llama_probe}/wrap.c"
        "void ggml_gemv_q4_0_8x8_q8_0(void);\nvoid ggml_gemm_q4_0_8x8_q8_0(void);\n"
        "void ggml_cpu_extra_compute_forward(void);\n"
        "void ggml_compute_forward_flash_attn_ext(void);\n"
        "int main(void)\n{\n    ggml_gemv_q4_0_8x8_q8_0();\n    ggml_gemm_q4_0_8x8_q8_0();\n"
        "    ggml_cpu_extra_compute_forward();\n    ggml_compute_forward_flash_attn_ext();\n"
        "    return 0;\n}\n")
    try_compile(TANDEM_LLAMA_WRAPS "${llama_probe}/wrap"
        SOURCES "${llama_probe}/wrap.c" "${llama_probe}/probe.cpp" LINK_LIBRARIES llama::llama)
endif()

# Whether its memory can be asked for as huge pages (huge_pages.c): a static build, on Linux.
unset(TANDEM_LLAMA_PAGES CACHE)
if(llama_kind STREQUAL STATIC AND CMAKE_SYSTEM_NAME STREQUAL Linux)
    file(WRITE "${llama_probe}/pages.c"
        "void *ggml_aligned_malloc(unsigned long n);\n"
        "int main(void)\n{\n    return !ggml_aligned_malloc(1);\n}\n")
    try_compile(TANDEM_LLAMA_PAGES "${llama_probe}/pages"
        SOURCES "${llama_probe}/pages.c" "${llama_probe}/probe.cpp" LINK_LIBRARIES llama::llama)
endif()
