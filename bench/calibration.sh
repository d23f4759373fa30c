#!/usr/bin/env bash
# The whole comparison of calibrated quantization as one command: every table of docs/BENCHMARKS.md that the peers take part in.
#
#   bench/calibration.sh --lathe build --peer PEER_BIN_DIR --model HF_DIR --peer-gguf FLOAT.gguf --calib FILE --text FILE --work DIR
#                        [--gptq gptq_torch.py] [--python python3] [--samples 128] [--windows 40] [--threads 2] [--limit 700]
#                        [--sections "sizes own widths solvers transforms gptq awq memory"]
#
# --peer       folder with llama-quantize, llama-imatrix and llama-perplexity
# --peer-gguf  the model as a float GGUF made by the peer
# --calib      text that all sides calibrate on; --text is only judged on
# --gptq       the PyTorch GPTQ of the sections widths and gptq: called as bench/gptq_bench.sh says
# --limit      MiB of memory for a whole calibrated run, in a memory cgroup (needs root)
# --work       keeps models, logits and finished sections: a run that was interrupted is continued, one that is
#              repeated prints what it has
#
#   sizes       files of the bytes of the peer's best files, stock types           (budget_curve.sh)
#   own         the same with own types allowed, F32 expansions of both sides      (budget_curve.sh --expand)
#   widths      4, 3 and 2 bits in groups of 64 beside AutoRound and PyTorch GPTQ  (rounding.sh; needs auto-round)
#   solvers     every solver on every format                                       (solver_matrix.py)
#   transforms  each transform, alone and combined, at two sizes                   (transforms.sh)
#   gptq        time, Gram matrices and output errors beside PyTorch               (gptq_bench.sh)
#   awq         the search through the Gram matrix beside running the layer        (awq_bench)
#   memory      a calibrated run under a limit                                     (memory.sh)
#
# All sections of a 135M model take about a day on two cores, most of it AutoRound's.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/common.sh"

lathe=$here/../build peer='' model='' peer_gguf='' calib='' text='' keep='' gptq='' python=python3 samples=128 windows=40
threads=2 limit=700 sections='sizes own widths solvers transforms gptq awq memory'
usage() { sed -n '4,29p' "$0" >&2; exit 2; }
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || usage
    case $1 in
    --lathe) lathe=$2 ;; --peer) peer=$2 ;; --model) model=$2 ;; --peer-gguf) peer_gguf=$2 ;; --calib) calib=$2 ;;
    --text) text=$2 ;; --work) keep=$2 ;; --gptq) gptq=$2 ;; --python) python=$2 ;; --samples) samples=$2 ;;
    --windows) windows=$2 ;; --threads) threads=$2 ;; --limit) limit=$2 ;; --sections) sections=$2 ;;
    *) usage ;;
    esac
    shift 2
done
[ -n "$keep" ] || usage
need "$lathe/quantize" "$peer/llama-perplexity" "$model/config.json" "$peer_gguf" "$calib" "$text"
for section in $sections; do
    case $section in
    sizes | own | solvers | transforms | awq | memory) ;;
    widths) "$python" -c 'import auto_round' || { echo "widths needs auto-round, or leave it out with --sections" >&2; exit 2; } ;;
    gptq) need "${gptq:?gptq needs --gptq FILE, or leave it out with --sections}" ;;
    *) echo "no section '$section'" >&2; usage ;;
    esac
done
mkdir -p "$keep"
lathe=$(realpath "$lathe") peer=$(realpath "$peer") model=$(realpath "$model") peer_gguf=$(realpath "$peer_gguf")
calib=$(realpath "$calib") text=$(realpath "$text") keep=$(realpath "$keep")
[ -z "$gptq" ] || gptq=$(realpath "$gptq")

both=(--lathe "$lathe" --peer "$peer" --model "$model" --threads "$threads")
run_section() {
    local -a budget=("${both[@]}" --peer-gguf "$peer_gguf" --text "$text" --calib "$calib" --windows "$windows"
        --samples "$samples" --work "$keep/$1")
    case $1 in
    sizes) "$here/budget_curve.sh" "${budget[@]}" ;;
    own) "$here/budget_curve.sh" "${budget[@]}" --expand \
        --options "--formats q2_k,q3_k,q4_k,q5_k,q6_k,q4_0,q4_1,q5_0,q5_1,q8_0,iq4_nl,iq4_xs,int3_g32,int3_g64,int4_g64" ;;
    widths) "$here/rounding.sh" "${both[@]}" --calib "$calib" --text "$text" --keep "$keep/widths" --samples "$samples" \
        --windows "$windows" --python "$python" --gptq "$gptq" --sides "rtn gptq gptaq rounded autoround${gptq:+ torch}" ;;
    solvers) "$python" "$here/solver_matrix.py" --lathe "$lathe" ;;
    transforms) "$here/transforms.sh" "${both[@]}" --text "$calib" --keep "$keep/transforms" ;;
    gptq) "$here/gptq_bench.sh" --lathe "$lathe" --peer "$gptq" --model "$model" --text "$calib" --samples "$samples" \
        --threads "$threads" --python "$python" --held-out "$text" ;;
    awq) "$lathe/awq_bench" 576 3072 16384 && "$lathe/awq_bench" 1536 576 8192 q4_0 ;;
    memory) "$here/memory.sh" "$lathe" "$model" "$limit" -f int4_g64 -m gptq --calib "$calib" --samples "$samples" ;;
    esac
}
for section in $sections; do
    echo "== $section"
    if [ ! -e "$keep/$section.txt" ]; then
        run_section "$section" | tee "$keep/$section.part"
        mv "$keep/$section.part" "$keep/$section.txt"
    else
        cat "$keep/$section.txt"
    fi
done
