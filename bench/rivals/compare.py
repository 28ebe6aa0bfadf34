"""cog and PyTorch on the same shapes in turn, with as many threads: bench/results/rivals.json.

    python compare.py PEER OUT.json [--only WORD] [--rounds 5] [--seconds 0.2]

PEER is the program made from peer.cpp. In every round each competitor has its turn, so that a slow minute of the machine is shared;
a figure is the median over the rounds of the medians. The file is written after every case, and cases that it holds are kept.
On one core (taskset -c 0) time is that of the thread itself, on both sides, so that what else runs there does not count.
"""
import argparse
import datetime
import json
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import time


class Cog:
    """The program PEER: one line asked, one line answered."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"cog's side ended at: {line}")
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


THREADS = len(os.sched_getaffinity(0))
clock = time.thread_time if THREADS == 1 else time.perf_counter


def timed(call, seconds):
    times, spent = [], 0.0
    while spent < seconds or len(times) < 3:
        start = clock()
        call()
        times.append(clock() - start)
        spent += times[-1]
    return statistics.median(times)


def heads(n):
    return max(1, min(16, 16384 // n))


def cases():
    """(what is set up, who competes): 'cog' is this library, the others those of rivals.py. A formula's scores fill memory: to 8k."""
    for d in (64, 128):
        for n in (512, 2048, 8192):
            for kind in ("forward", "backward"):
                for mask in ("none", "causal"):
                    shape = dict(kind=kind, dtype="float", mask=mask, B=1, H=heads(n), N=n, D=d)
                    yield {**shape, "rule": "softmax"}, ["cog", "sdpa"]
                    # The formula costs the same with a mask.
                    yield {**shape, "rule": "cog"}, ["cog"] + (["eager", "compiled"] if mask == "none" else [])
    for n in (2048, 8192):
        for kind in ("forward", "backward"):
            shape = dict(kind=kind, dtype="bf16", mask="none", B=1, H=heads(n), N=n, D=64)
            yield {**shape, "rule": "softmax"}, ["cog", "sdpa"]
            yield {**shape, "rule": "cog"}, ["cog", "eager"]
    for dtype in ("float", "bf16"):
        for key_heads in (8, 2):
            shape = dict(kind="decode", dtype=dtype, B=1, H=8, key_heads=key_heads, N=32768, D=64)
            yield {**shape, "rule": "softmax"}, ["cog", "sdpa"]
            yield {**shape, "rule": "cog"}, ["cog", "eager"]
    for model in ("gpt", "cogformer"):
        for size in ("small", "medium"):
            for rule in ("softmax", "cog"):
                yield dict(kind="train", model=model, size=size, rule=rule), ["cog", "eager", "compiled"]


def line_for_cog(c):
    if c["kind"] == "train":
        return f"train {c['model']} {c['size']} {c['rule']}"
    if c["kind"] == "decode":
        return f"decode {c['rule']} {c['dtype']} {c['B']} {c['H']} {c['key_heads']} {c['N']} {c['D']}"
    return f"{c['kind']} {c['rule']} {c['dtype']} {c['mask']} {c['B']} {c['H']} {c['N']} {c['D']}"


def rival(c, who):
    import rivals
    if c["kind"] == "train":
        return rivals.train(c["model"], c["size"], c["rule"], who)
    if c["kind"] == "decode":
        return rivals.decode(who, c["rule"], c["dtype"], c["B"], c["H"], c["key_heads"], c["N"], c["D"])
    return rivals.attention(c["kind"], who, c["rule"], c["dtype"], c["mask"], c["B"], c["H"], c["N"], c["D"])


def compare(c, who, cog, rounds, seconds):
    cog.ask(line_for_cog(c))
    calls = {w: rival(c, w) for w in who if w != "cog"}
    samples = {w: [] for w in who}
    for w, call in calls.items():
        call(), call()  # compile, warm up
    cog.ask("time 0")
    for _ in range(rounds):
        for w in who:
            time.sleep(0.02)  # the threads of the one before have stopped looking for work
            samples[w].append(float(cog.ask(f"time {seconds}")) if w == "cog" else timed(calls[w], seconds))
    return {w: dict(seconds=statistics.median(s), least=min(s), most=max(s)) for w, s in samples.items()}


# ---- Memory: how far the resident set of the process grows in one forward pass

def kib(pid, key):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise KeyError(key)


def growth(pid, call):
    before = kib(pid, "VmRSS")
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts again
    call()
    return (kib(pid, "VmHWM") - before) * 1024


def rival_memory(who, rule, n, answer):
    import rivals
    rivals.attention("forward", who, rule, "float", "none", 1, 1, 256, 64)()
    call = rivals.attention("forward", who, rule, "float", "none", 1, 1, n, 64)
    answer.put(growth(os.getpid(), call))


def memory(who, rule, n, program):
    if who == "cog":
        cog = Cog(program)
        cog.ask("forward cog float none 1 1 256 64")
        cog.ask("time 0")
        cog.ask(f"forward {rule} float none 1 1 {n} 64")
        bytes_used = growth(cog.process.pid, lambda: cog.ask("time 0"))
        cog.close()
        return bytes_used
    spawn = multiprocessing.get_context("spawn")
    answer = spawn.Queue()
    process = spawn.Process(target=rival_memory, args=(who, rule, n, answer))
    process.start()
    process.join()
    return answer.get() if process.exitcode == 0 else None


def free_bytes():
    return next(int(x.split()[1]) * 1024 for x in open("/proc/meminfo") if x.startswith("MemAvailable"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer")
    parser.add_argument("out")
    parser.add_argument("--only", default="", help="cases whose line has this word; they are measured again")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--context", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()

    import torch
    torch.set_num_threads(THREADS)
    cog = Cog(args.peer)
    fma, copy = (float(x) for x in cog.ask("ceilings").split())
    out = pathlib.Path(args.out)
    data = json.loads(out.read_text()) if out.exists() else {"context": {}, "speed": [], "memory": []}
    data["context"] |= {"date": datetime.date.today().isoformat(), "num_cpus": THREADS, "torch": torch.__version__,
                        "fma_peak": fma, "copy_bandwidth": copy, **dict(x.split("=", 1) for x in args.context)}

    def save():
        out.write_text(json.dumps(data, indent=1) + "\n")

    for c, who in cases():
        line = line_for_cog(c)
        have = [r for r in data["speed"] if r["line"] == line]
        if args.only not in line or (have and not args.only):
            continue
        result = compare(c, who, cog, args.rounds, args.seconds)
        print(line, {w: f"{r['seconds'] * 1e3:.3g} ms" for w, r in result.items()}, flush=True)
        data["speed"] = [r for r in data["speed"] if r["line"] != line] + [{"line": line, **c, "who": result}]
        save()
    cog.close()

    if args.only not in "memory" or (data["memory"] and not args.only):
        return
    data["memory"] = []
    for n in (1024, 2048, 4096, 8192, 16384, 32768):
        for who, rule in (("cog", "cog"), ("cog", "softmax"), ("sdpa", "softmax"), ("eager", "cog"), ("compiled", "cog")):
            if who in ("eager", "compiled") and 4 * 4 * n * n > free_bytes() - (1 << 30):
                continue  # would need more than there is
            used = memory(who, rule, n, args.peer)
            print("memory", n, who, rule, used, flush=True)
            if used is not None:
                data["memory"].append(dict(N=n, who=who, rule=rule, bytes=used))
    save()


if __name__ == "__main__":
    main()
