#!/usr/bin/env bash
# The whole evaluation in one command: sets the machine up, then runs notebooks/00 to 08 with the values of one profile.
set -euo pipefail

root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
cd -- "$root"

profiles() {
  for file in notebooks/params/*.yaml; do basename "$file" .yaml; done | tr '\n' ' '
}

usage() {
  cat <<TEXT
usage: ./run_all.sh [PROFILE]               run notebooks 00 to 08 and put tables, figures and index.html into results/PROFILE/;
                                            those that would make the same as the last time are left as they are
       ./run_all.sh --anew [PROFILE]        the same, with all notebooks, from the cache where it holds what they need
       ./run_all.sh --check [PROFILE]       run, then compare the tables with results/reference/; exit with 1, and list
                                            which differ by how much, if any differs beyond the tolerance or is missing
       ./run_all.sh --reference [PROFILE]   run, then write results/reference/ anew from it (tables up to 64 kB)
       ./run_all.sh [PROFILE] --dry-run     show what a run would fetch, from where, how large, under which licence,
                                            and whether it can be reached
       ./run_all.sh test                    run the tests (further arguments go to pytest)
       ./run_all.sh benchmark               execute notebooks/benchmark.ipynb on the finished run of toyworld, and put it, with the
                                            page made of it, into results/benchmark/ (-p full_size 8: with networks of full size, too)
       ./run_all.sh lab                     open the project in JupyterLab (further arguments go to JupyterLab)
       ./run_all.sh --help                  show this

Profiles (notebooks/params/*.yaml, default toyworld): $(profiles)
The first call installs requirements.txt into the active virtual environment, or into .venv if none is active.
TEXT
}

fail() {
  echo "run_all.sh: $*" >&2
  exit 2
}

# A command called python3.12 may exist and not run (version managers leave such stubs), hence the trial.
recent() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() { # sets $python
  for python in python3.11 python3.12 python3.13 python3 python; do
    if recent "$python" && "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then return; fi
  done
  fail "found no Python 3.11 or newer with venv. Install one (apt install python3.11-venv, brew install python@3.11," \
    "https://www.python.org/downloads) or activate an environment that has it, then call again."
}

set_up() { # sets $python to that of the environment, and installs into it what is missing
  environment="${VIRTUAL_ENV:-$root/.venv}"
  if [ -n "${VIRTUAL_ENV:-}" ]; then
    recent "$environment/bin/python" || fail "the active environment $environment has no Python 3.11 or newer; deactivate it."
  elif ! recent "$environment/bin/python"; then
    find_python
    "$python" -m venv --clear --upgrade-deps "$environment" # a recent pip is twice as fast as the one inside Python 3.11
  fi
  python="$environment/bin/python"
  stamp="$environment/.itemkit-installed"
  wanted="$(cksum <requirements.txt) $root" # with the path, since two clones may share an environment
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
  echo "Installing requirements.txt into $environment (only now, and again when that file changes)."
  "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip
  "$python" -m pip install --disable-pip-version-check --no-compile --requirement requirements.txt
  "$python" -m pip install --disable-pip-version-check --quiet --no-build-isolation --no-deps --editable .
  libraries="$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
  echo "Compiling what was installed." # which pip does on one core; a file for a newer Python, as some have, is left
  "$python" -m compileall -qq -j 0 "$libraries" || true
  echo "$wanted" >"$stamp"
}

is_option() { # also sets $option; an option may stand before or after the profile
  case "${1:-}" in
    -h | --help) usage && exit ;;
    --anew | --check | --reference | --dry-run) option="$1" ;;
    -*) fail "unknown option '$1'; expected one of: --anew, --check, --reference, --dry-run, --help" ;;
    *) return 1 ;;
  esac
}

option=""
if is_option "${1:-}"; then shift; fi
command="${1-toyworld}"
if [ $# -gt 0 ]; then shift; fi
case "$command" in
  test | lab | benchmark) ;; # whose options are not ours
  *) if [ -z "$option" ] && is_option "${1:-}"; then shift; fi ;;
esac
case "$option$command" in
  test | lab | benchmark) ;;
  *)
    [ -f "notebooks/params/$command.yaml" ] || fail "unknown profile '$command'; expected one of: $(profiles)(or test, lab, benchmark, --help)"
    [ $# -eq 0 ] || fail "a profile takes one option and no further arguments, got '$*'; its values stand in" \
      "notebooks/params/$command.yaml"
    ;;
esac

set_up
export PYTHONHASHSEED=0 TOKENIZERS_PARALLELISM=false HF_DATASETS_CACHE="${HF_DATASETS_CACHE:-$root/cache/datasets}"
export PYTHONWARNINGS="ignore:IProgress not found" # progress bars are plain text here, and need no widgets
if [ ! -t 2 ]; then export TQDM_MININTERVAL=10; fi # in a log file, a bar is worth a line now and then
case "$command" in
  toyworld | test | benchmark) export HF_HUB_OFFLINE=1 ;; # all they need lies beside the code; other profiles may name a hub
esac
case "$option$command" in
  test)
    if [ $# -eq 0 ]; then # all of them: on each core a file at a time
      export OMP_NUM_THREADS=1
      set -- --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder
    fi
    exec "$python" -m pytest -o cache_dir=cache/pytest "$@"
    ;;
  benchmark)
    mkdir -p results/benchmark
    "$python" -m papermill --kernel python3 --cwd notebooks --stdout-file /dev/null "$@" notebooks/benchmark.ipynb results/benchmark/benchmark.ipynb
    exec "$python" -m nbconvert --log-level ERROR --to html results/benchmark/benchmark.ipynb
    ;;
  lab) exec "$python" -m jupyter lab --ServerApp.root_dir="$root" notebooks/00_data.ipynb "$@" ;;
  *) exec "$python" -m itemkit.running.run "$command" ${option:+"$option"} ;;
esac
