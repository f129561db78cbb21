#!/usr/bin/env bash
# 200 sweeps of the demo model: growth of memory, descriptors and shared-memory names
. bench/common.sh
build
python3 - >"$scratch/growth" <<'P'
import os, re, subprocess
p = subprocess.Popen(["build/sluice", "chat", "tests/data/demo-model", "--temperature", "0", "--ignore-eos", "-n", "25"],
                     stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
def ask(times):
    for _ in range(times):
        p.stdin.write("Please tell me about Karl and the bell.\n/clear\n")
    p.stdin.write("/stats\n")
    p.stdin.flush()
    while not (m := re.search(r"answers?, (\d+) tokens", line := p.stderr.readline())):
        assert line, "the chat ended"
    return int(m[1])
def look():
    pids = [p.pid] + [int(c) for c in open(f"/proc/{p.pid}/task/{p.pid}/children").read().split()]
    kib = sum(int(n) for q in pids for n in re.findall(r"Pss_(?:Anon|Shmem):\s+(\d+)", open(f"/proc/{q}/smaps_rollup").read()))
    return len(pids), kib, sum(len(os.listdir(f"/proc/{q}/fd")) for q in pids), len(os.listdir("/dev/shm"))
tokens = ask(40)  # heaps reach their size
before = look()
more = ask(9) - tokens
after = look()
p.stdin.close()
p.wait()
assert before[0] == after[0] == 4, "a process came or went"
assert more >= 200, f"only {more} sweeps"
print(more, *(b - a for a, b in zip(before[1:], after[1:])))
P
read -r sweeps memory fds names <"$scratch/growth"
header
row "memory after $sweeps more sweeps, all processes (1000 before them)" max 0 KiB "$memory" ""
row "open descriptors" max 0 more "$fds" ""
row "names in /dev/shm" max 0 more "$names" ""
