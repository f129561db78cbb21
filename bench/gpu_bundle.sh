#!/usr/bin/env bash
# gpu_bundle.sh BUILD OUT.tar.gz [--whole]: what a machine needs that has a card, NVIDIA's driver and CUDA's runtime libraries
# (libcudart, libcublas: the -runtime containers have them), and neither a compiler nor this program's other libraries.
# --whole takes the runtime along too, which is half a gigabyte. `make gpu-bundle` builds and calls it.
#
# In the bundle: programs/ and programs/gpu/, lib/ the shared libraries that they were linked with (but the C library's own,
# which belong to the machine), reference models, gpu_report.sh, and a sluice that finds lib/.
set -euo pipefail
build=${1:?gpu_bundle.sh BUILD OUT.tar.gz} out=${2:?gpu_bundle.sh BUILD OUT.tar.gz}
theirs='ld-linux|libc|libm|libdl|librt|libpthread|libresolv|libcuda|libcudart|libcublas|libcublasLt'
[ "${3:-}" != --whole ] || theirs='ld-linux|libc|libm|libdl|librt|libpthread|libresolv|libcuda'
stages=(sluice-reader sluice-transfer-cpu sluice-compute-cpu sluice-transfer-cuda sluice-compute-cuda)
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
dir=$top/sluice-gpu
mkdir -p "$dir/lib" "$dir/programs/gpu" "$dir/tests/data"

# put FROM TO: a program, its symbols for debugging left behind
put() { install -m 755 "$1" "$2" && { strip "$2" 2>/dev/null || true; }; }
for p in sluice "${stages[@]}"; do
    [ -e "$build/$p" ] && put "$build/$p" "$dir/programs/$p" || { [[ $p == *-cuda ]] || { echo "gpu_bundle: $build/$p is not built" >&2 && exit 1; }; }
done
for p in "$build"/gpu/test_cuda_* "$build/gpu/gpu_bench"; do [ -x "$p" ] && [ ! -d "$p" ] && put "$p" "$dir/programs/gpu/${p##*/}"; done
[ ! -x "$build/bench/mkmodel" ] || put "$build/bench/mkmodel" "$dir/programs/mkmodel"
# a test finds its stages beside itself
if [ -x "$build/tests/test_goldens" ]; then
    put "$build/tests/test_goldens" "$dir/programs/test_goldens"
    cp -r tests/data/models "$dir/tests/data/models"
fi
cp -rL tests/data/demo-model "$dir/tests/data/demo-model"
cp bench/gpu_report.sh "$dir/"

libraries() { ldd "$@" 2>/dev/null | awk '/=> \// {print $3}' | sort -u; }
for f in $(libraries "$dir"/programs/sluice* "$dir"/programs/gpu/* "$dir"/programs/mkmodel "$dir"/programs/test_goldens | grep -vE "/($theirs)[.-]"); do
    cp -L "$f" "$dir/lib/"
    # cuBLAS opens its other half by itself
    case $f in */libcublas.so.*) cp -L "${f%/*}"/libcublasLt.so.* "$dir/lib/" ;; esac
done
cat >"$dir/sluice" <<'W'
#!/bin/sh
top=$(cd "$(dirname "$0")" && pwd)
LD_LIBRARY_PATH=$top/lib:${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/usr/local/cuda/lib64 exec "$top/programs/sluice" "$@"
W
chmod 755 "$dir/sluice"
cat >"$dir/README" <<R
sluice for a machine with an NVIDIA card: ./gpu_report.sh measures everything and writes a report. ./sluice is the program.
Needed: Linux with glibc $(ldd --version | awk 'NR == 1 {print $NF}') or newer, NVIDIA's driver, and CUDA's runtime ($(ldd "$dir/programs/sluice-compute-cuda" 2>/dev/null | awk '/libcudart/ {print $1}')).
R
mkdir -p "$(dirname "$out")"
tar -C "$top" -czf "$out.part" sluice-gpu
mv "$out.part" "$out"
echo "$out: $(du -h "$out" | cut -f1), unpacked $(du -sh "$dir" | cut -f1)"
