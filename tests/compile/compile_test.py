#!/usr/bin/env python3
"""What does not compile says why, in a sentence of ours; what should compile does.

  compile_test.py CXX INCLUDE
"""

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROLOGUE = """
#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <vector>
#include "duolu/loop/offload.hpp"
#include "duolu/loop/scope.hpp"
#include "duolu/loop/within.hpp"
#include "duolu/task/channel.hpp"
#include "duolu/task/together.hpp"
using namespace duolu;
using namespace std::chrono_literals;
"""

RIGHT = """
Task<int&> reference(int& x) { co_return x; }
Task<> takes_it() { int x = 0; int& y = co_await reference(x); y = 1; }
int& runs(Loop& l, int& x) { return l.run(reference(x)); }
Task<const int> constant() { co_return 1; }
struct alignas(16) Aligned { int x; };
Task<Aligned> aligned() { co_return Aligned{1}; }
Task<> doubles(Loop& l, Channel<int>& c) {
  (void)co_await l.sleep_for(std::chrono::duration<double>(0.5));
  (void)co_await l.sleep_for(std::chrono::years(1));
  (void)co_await within(l, std::chrono::duration<float>(1), c.receive());
}
Task<Result<int>> pointer(OffloadPool& p, int* x) {
  int* const same = co_await try_(offload(p, [x] { return x; }));
  co_return *same;
}
Channel<std::unique_ptr<std::deque<int>>> channel(1);
void spawns(Scope& s) { s.spawn([text = std::string("kept")]() -> Task<> { co_return; }); }
"""

# Each with a part of what is said.
WRONG = {
    "Task<int&&> f(int&& x);  Task<> g(int x) { co_await f(std::move(x)); }":
        "would not outlive the coroutine",
    "struct alignas(64) Wide { char x[64]; };  Task<Wide> f() { co_return Wide(); }":
        "memory for frames is aligned to 16 bytes",
    "Task<> g(OffloadPool& p, int* x) { (void)co_await offload(p, [x]() -> int& { return *x; }); }":
        "fn returns a reference, which a Result cannot hold",
    "Channel<std::deque<int>> c(1);": "a move of T may throw",
    "Task<int> f();  void g(Scope& s) { s.spawn(f()); }": "spawn() takes a Task<> or",
    "Task<Result<int>> f();  void g(Scope& s) { s.spawn(f()); }": "spawn() takes a Task<> or",
    "Task<int> f();  Task<> g(Loop& l) { co_await within(l, 1s, f()); }":
        "within() takes what gives a Result",
}


def compile_it(compiler, include, code):
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "a.cpp"
        source.write_text(PROLOGUE + code, encoding="utf-8")
        return subprocess.run([compiler, "-std=gnu++23", "-fsyntax-only", f"-I{include}", source],
                              capture_output=True, text=True, check=False)


def main():
    compiler, include = sys.argv[1:]
    failures = []
    with ThreadPoolExecutor(2) as pool:
        right = pool.submit(compile_it, compiler, include, RIGHT)
        wrong = {code: pool.submit(compile_it, compiler, include, code) for code in WRONG}
    if right.result().returncode != 0:
        failures.append(f"should compile:\n{right.result().stderr}")
    for code, found in wrong.items():
        result = found.result()
        if result.returncode == 0:
            failures.append(f"should not compile: {code}")
        elif WRONG[code] not in result.stderr:
            failures.append(f"should say '{WRONG[code]}': {code}\n{result.stderr[:2000]}")
    print("\n".join(failures) or "all as they should be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
