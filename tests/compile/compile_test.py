#!/usr/bin/env python3
"""What does not compile says why, in a sentence of ours; what should compile does.

  compile_test.py INCLUDE CXX...
"""

import re
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
#include "duolu/duolu.hpp"
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
Task<Result<std::string>> any_awaitable(Stream* stream, Flag* flag, Datagram* datagram) {
  char bytes[8];
  auto [size, nothing] = co_await when_all(stream->read(bytes), sleep(5s));
  auto first = co_await first_of(flag->wait(), channel.receive(), datagram->send("text", Address()),
                                 [flag]() -> Task<int> { co_return co_await flag->wait() ? 1 : 2; },
                                 within(1s, stream->read(bytes)));
  static_assert(std::is_same_v<decltype(first),
                               std::variant<bool, Result<std::unique_ptr<std::deque<int>>>,
                                            Result<>, int, Result<std::size_t>>>);
  const bool set = co_await shielded(flag->wait());
  co_await try_(within(1s, shielded(stream->write_all("text"))));
  co_await try_(std::move(size));
  if (set && nothing == std::monostate()) co_return "set";
  co_return {};
}
int runs_any() { return run(sleep(1s)) + run([]() -> Task<Result<int>> { co_return 1; }); }
Task<Result<>> echo(Stream client) {
  while (Lease bytes = co_await try_(client.read_lease()))
    co_await try_(client.write_all(std::move(bytes)));
  co_return {};
}
int serves() {
  return run(serve("localhost:5000", echo)) +
         run(serve("localhost:0", [](Stream) -> Task<> { co_return; }));
}
void spawns(Scope& s) { s.spawn([text = std::string("kept")]() -> Task<> { co_return; }); }
"""

# Each with a part of what is said, in one of the first three errors.
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
    "Task<> f();  Task<> g() { co_await within(5s, f()); }": "within() takes what gives a Result",
    "Task<> g(Flag& f) { co_await within(5s, f.wait()); }": "within() takes what gives a Result",
    # try_
    "Task<Result<>> f();  Task<> g() { co_await try_(f()); }": "so the task returns a Result",
    "Task<> g(Stream& s) { char b[8]; (void)co_await try_(s.read(b)); }":
        "so the task returns a Result",
    "Task<> g(Datagram& d) { co_await try_(d.send(\"text\", Address())); }":
        "so the task returns a Result",
    "Task<int> g(Channel<int>& c) { co_return co_await try_(c.receive()); }":
        "so the task returns a Result",
    "Task<Result<>> f();  Task<> g() { co_await try_(within(1s, f())); }":
        "so the task returns a Result",
    "Task<> g() { Result<int> r = 1; (void)co_await try_(std::move(r)); }":
        "so the task returns a Result",
    "Task<> f();  Task<Result<>> g() { co_await try_(f()); co_return {}; }":
        "try_ takes what gives a Result",
    "Task<Result<>> f();  Task<Result<>> g() { auto t = f(); co_await try_(t); co_return {}; }":
        "try_(std::move(task))",
    # co_await
    "Task<> f();  Task<> g() { auto t = f(); co_await t; }": "co_await std::move(task), and once",
    "Task<> g(Channel<int>& c) { auto r = c.receive(); (void)co_await r; }":
        "co_await std::move(task), and once",
    "Task<> g() { co_await 5; }": "this cannot be awaited",
    "Task<> f();  Task<> g() { co_await f; }": "this cannot be awaited",
    "Task<> g(Flag* f) { co_await f; }": "this cannot be awaited",
    "Task<> f();  Task<> g() { f(); co_return; }": "co_await it, or spawn it",
    "Task<> g() { sleep(5s); co_return; }": "co_await it",
    "Task<> g(Stream& s) { s.write_all(\"text\"); co_return; }": "co_await it",
    "Task<> g(Stream& s) { s.write_all(\"text\", \"more\"); co_return; }": "co_await it",
    "Task<> g(Flag& f) { f.wait(); co_return; }": "co_await it",
    "Task<> g(Stream& s) { char b[8]; within(5s, s.read(b)); co_return; }": "co_await it",
    "Task<> f();  Task<> g() { when_all(f(), f()); co_return; }": "co_await it, or spawn it",
    "Task<> g() { connect(\"localhost:5000\"); co_return; }": "co_await it, or spawn it",
    # tasks
    "Task<Result<>> f() { return {}; }": "write `co_return {}` instead of `return {}`",
    "Task<> f() { return Task<>(); }": "a task without a coroutine",
    "Task<> f();  Task<> g() { auto t = f(); (void)co_await when_all(t, f()); }":
        "deleted",
    # scopes and servers
    "Task<> b(Scope* s);  Task<> g() { co_await with_scope(b); }": "with_scope() calls body(scope)",
    "Task<> g() { co_await with_scope([](Scope&) {}); }": "with_scope() calls body(scope)",
    "Task<> b(Scope& s);  Task<> g() { co_await with_scope(fail_fast, b); }":
        "body returns a Task<Result<T>>",
    "Task<> h(Stream& s);  int g() { return run(serve(\"localhost:0\", h)); }":
        "takes it by value",
    "Task<> h(const Stream& s);  int g() { return run(serve(\"localhost:0\", h)); }":
        "takes it by value",
    "void h(Stream s);  int g() { return run(serve(\"localhost:0\", h)); }":
        "which returns a Task<Result<>> or a Task<>",
    "Task<std::string> f();  int g() { return run(f()); }": "run() returns an exit code",
}


def compile_it(command, folder, code):
    return subprocess.run([*command, "-fsyntax-only", "-include", Path(folder) / "prologue.hpp",
                           "-x", "c++", "-"], input=code, capture_output=True, text=True,
                          check=False)


def check(compiler, include):
    """What is wrong with what `compiler` says."""
    command = [compiler, "-std=gnu++23", "-Werror=unused-result", "-Werror=unused-value",
               f"-I{include}"]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        prologue = Path(folder) / "prologue.hpp"
        prologue.write_text(PROLOGUE, encoding="utf-8")
        precompile = [*command, "-x", "c++-header", prologue, "-o", f"{prologue}.gch"]
        subprocess.run(precompile, check=True)
        right = pool.submit(compile_it, command, folder, RIGHT)
        wrong = {code: pool.submit(compile_it, command, folder, code) for code in WRONG}
    if right.result().returncode != 0:
        yield f"should compile:\n{right.result().stderr}"
    for code, found in wrong.items():
        result = found.result()
        errors = re.findall(r"^.*\berror: .*$", result.stderr, re.MULTILINE)
        if result.returncode == 0:
            yield f"should not compile: {code}"
        elif not any(WRONG[code] in error for error in errors[:3]):
            yield f"should say '{WRONG[code]}': {code}\n{result.stderr[:2000]}"


def main():
    include, *compilers = sys.argv[1:]
    failures = [f"{compiler}: {failure}"
                for compiler in compilers for failure in check(compiler, include)]
    print("\n".join(failures) or "all as they should be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
