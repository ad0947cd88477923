# Compile the kernels into the image: those of the state and of the transport, and those that all roles use, by
# running the roles on a small world in one process.
set -eu
export NUMBA_CACHE_DIR=/opt/segue/kernels HOME=/tmp
# Kernels are cached by the place of their modules: the installed ones, and not those of the current folder.
cd /
/opt/segue/venv/bin/python -m segue.compiling
world=$(mktemp -d)
/opt/segue/venv/bin/segue demo --log embedded --world-items 300 --world-users 600 --world-events 20000 \
    --live-seconds 4 --live-rate 50 --hgnn-epochs 1 --set "data=$world" > "$world/log" 2>&1 || { cat "$world/log"; exit 1; }
rm -rf "$world"
find "$NUMBA_CACHE_DIR" -name '*.nbc' | wc -l
