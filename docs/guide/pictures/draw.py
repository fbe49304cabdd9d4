#!/usr/bin/env python3
"""Draws the pictures of the guide: draw.py writes *.svg beside itself, and with Chinese labels
zh/*.svg; guide_test.py compares.

One alphabet for all: a client is round, a thread square, what the kernel keeps is between two
lines. A dashed arrow says "waits for", a plain one that bytes or calls go there now. The colours
follow the reader's light or dark mode.
"""

import pathlib
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", FALLBACK; fill: #1f2328; }
  .small { font-size: 11.5px; fill: #59636e; }
  .strong { font-weight: 600; }
  .line { stroke: #59636e; fill: none; stroke-width: 1.4; }
  .wait { stroke: #9a6700; fill: none; stroke-width: 1.6; stroke-dasharray: 5 4; }
  .go { stroke: #1a7f37; fill: none; stroke-width: 1.8; }
  .head-wait { fill: #9a6700; } .head-go { fill: #1a7f37; }
  .client { fill: #ddf4ff; stroke: #0969da; } .thread { fill: #dafbe1; stroke: #1a7f37; }
  .kernel { fill: #f6f8fa; stroke: #59636e; } .busy { fill: #ffebe9; stroke: #cf222e; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .small { fill: #9198a1; }
    .line { stroke: #9198a1; } .wait { stroke: #d29922; } .go { stroke: #3fb950; }
    .head-wait { fill: #d29922; } .head-go { fill: #3fb950; }
    .client { fill: #0c2d6b; stroke: #58a6ff; } .thread { fill: #033a16; stroke: #3fb950; }
    .kernel { fill: #21262d; stroke: #9198a1; } .busy { fill: #67060c; stroke: #ff7b72; }
  }
"""

NAMES = ("ann", "ben", "cas")

# Every label, and what it is in Chinese; one that is missing here cannot be drawn.
TO_CHINESE = {
    **{same: same for same in (
        *NAMES, *(f"echo({name})" for name in NAMES), "recv: 4,096", "recv: 1,906",
        "receive_lines", "send_lines", "co_await stream.read", "co_await stream.write_all")},
    **{f"{name}'s{what}": f"{name} 的{chinese}" for name in NAMES
       for what, chinese in (("", "任务"), (" thread", "线程"), (" callback", "回调"))},

    "waits for": "等待",
    "is at work on": "正在处理",
    "the thread": "线程",
    "the only thread": "唯一的线程",
    "the loop": "循环",
    "the poller": "poller",
    "all clients": "所有客户端",
    "sleeps": "睡眠",
    "waits": "等待",

    "One thread waits for one client; the others wait for the thread":
        "一个线程等一个客户端；其他客户端等这个线程",
    "in recv(ann)": "在 recv(ann) 里",
    "waits for ann alone": "只等 ann",
    "the listener's queue": "监听套接字的队列",
    "ben, cas": "ben、cas",
    "wait for the thread": "等这个线程",
    "connected by the kernel,": "内核已建立连接，",
    "heard by nobody": "没有人读",

    "Each thread waits for its own client": "每个线程等自己的客户端",
    "in recv": "在 recv 里",
    "the main thread": "主线程",
    "in accept": "在 accept 里",
    "the listener": "监听套接字",
    "a stack for each thread,": "每个线程一个栈，",
    "so there is a limit": "所以有上限",

    "The thread asks everybody, over and over, and waits for nobody":
        "线程一遍又一遍地问所有人，谁也不等",
    "never sleeps": "从不睡眠",
    "anything?  not yet": "有吗？还没有",
    "a whole processor, used to hear EAGAIN": "整个 CPU，用来听 EAGAIN",

    "The thread waits for all; in every call it tells the kernel all of them":
        "线程等所有人；每次调用都把他们全部告诉内核",
    "inside select": "select 里面",
    "looks at every one": "逐个查看",
    "all descriptors": "所有描述符",
    "the ready ones": "就绪的",
    "it forgets them when the call returns": "调用一返回就忘掉",

    "As select, with one array that says for each descriptor what is wanted":
        "同 select，用一个数组写明每个描述符要什么",
    "inside poll": "poll 里面",
    "pollfd: descriptor, wanted, found": "pollfd：描述符、要什么、查到什么",
    "the array": "数组",
    "found": "查到的",

    "The kernel keeps the set; the thread waits for the list of the ready ones":
        "集合由内核保管；线程等就绪列表",
    "the set": "集合",
    "told once: epoll_ctl": "只告诉一次：epoll_ctl",
    "the ready list": "就绪列表",
    "in epoll_wait": "在 epoll_wait 里",
    "waits for the list": "等这个列表",
    "who has something is put on the list; who is idle costs nothing":
        "有事的放到列表上；空闲的没有开销",

    "Level reports while there is something; edge when something comes":
        "水平触发：有东西就一直通知；边缘触发：来了东西才通知",
    "unread bytes": "未读的字节",
    "6,002 arrive": "来了 6,002",
    "1,906 are left": "还剩 1,906",
    "level": "水平触发",
    "edge": "边缘触发",
    "report": "通知",
    "silence: nothing new came": "没有新的来，不通知",
    "nothing to report": "没有可通知的",
    "So with edge the program must read on until EAGAIN: nobody reminds it of what it left.":
        "所以边缘触发时，程序必须一直读到 EAGAIN：剩下的没有人提醒。",

    "The loop waits for all, and calls back the object whose turn it is":
        "循环等所有人，轮到哪个对象就回调哪个",
    "what is unsent, which state": "未发送的、所处的状态",
    "calls one, which does what can be done now, says what it waits for, and returns":
        "循环调用其中一个；它做完现在能做的，说明接着等什么，然后返回",

    "Each conversation is a function that sleeps at co_await":
        "每个会话是一个函数，睡在 co_await 处",
    "between two of them": "在两个 co_await 之间",
    "one runs, the others sleep in the middle of a line and keep their variables":
        "一个在运行；其余的睡在某一行中间，变量都保留",

    "While one handler computes, everybody waits": "一个处理函数在计算，所有人都等",
    "ann's handler computes for 200 ms": "ann 的处理函数计算 200 ms",
    "work, and its answer": "work 和它的回答",
    "ping, and its answer": "ping 和它的回答",
    "nobody is asked, nobody is answered, no connection is accepted, no timer runs":
        "不读谁，不答谁，不接受连接，定时器也不运行",

    "Another thread computes, and the loop serves everybody else":
        "另一个线程在计算，循环服务其他所有人",
    "the pool": "线程池",
    "a thread of its own computes for 200 ms": "另一个线程计算 200 ms",
    "a ping, and its answer, three times": "ping 和它的回答，三次",
    "the loop begins the work and is free; the pool tells it when it is done":
        "循环交出工作就空了出来；做完时线程池通知它",

    "What one says goes into the channels of the others, each with a bound":
        "一个人说的话进入其他人的通道，每个通道有界",
    "ben's channel": "ben 的通道",
    "cas's channel": "cas 的通道",
    "full: she is dropped": "满了：断开",
    "does not read": "不读",
    "waits for a line": "等一行",
    "waits for cas": "等 cas",
    "who speaks puts in and goes on, and waits for nobody who reads":
        "说话的人放进去就继续，不等读的人",

    "Which way, by what the program does": "按程序要做的事，选哪一种",
    "one conversation at a time?": "一次一个会话？",
    "blocking calls": "阻塞调用",
    "a few, and each computes or calls what blocks?": "有几个，各自要计算或做会阻塞的调用？",
    "a thread for each": "每个客户端一个线程",
    "a few descriptors, one place in the program?": "几个描述符，只在程序的一处？",
    "select or poll": "select 或 poll",
    "many, and a conversation has several steps?": "有许多，一个会话有好几步？",
    "coroutines on a loop": "循环上的协程",
    "many, and one step answers each message?": "有许多，一步就能回答一条消息？",
    "callbacks on a poller": "poller 上的回调",
    "program 01": "程序 01",
    "program 02": "程序 02",
    "program 04 or 07": "程序 04 或 07",
    "program 12": "程序 12",
    "program 11": "程序 11",
    "yes": "是",
    "no": "否",
}


class Language(NamedTuple):
    folder: pathlib.Path
    fallback: str  # the fonts after those that every system has
    attribute: str = ""  # of the svg element: which of the glyphs that languages share
    labels: dict | None = None  # from English; English itself has none

    def say(self, words):
        return words if self.labels is None else self.labels[words]


ENGLISH = Language(HERE, "sans-serif")
CHINESE = Language(HERE / "zh", '"PingFang SC", "Noto Sans CJK SC", "Microsoft YaHei", sans-serif',
                   ' xml:lang="zh-CN"', TO_CHINESE)
LANGUAGES = (ENGLISH, CHINESE)


class Words(NamedTuple):
    """A part of a picture that is said in a language."""
    before: str
    words: str


class Picture:
    def __init__(self, name, title, height, width=640):
        self.name, self.title = name, title
        self.width, self.height = width, height
        self.parts = []

    def add(self, text):
        self.parts.append("  " + text)
        return self

    def text(self, x, y, words, kind="", anchor="middle"):
        self.parts.append(Words(
            f'  <text x="{x}" y="{y}" text-anchor="{anchor}" class="{kind}">', words))
        return self

    def box(self, x, y, width, height, kind, words, below="", strong=True):
        """`x` and `y` are its middle."""
        round_ = height / 2 if kind == "client" else 4
        self.add(f'<rect x="{x - width / 2}" y="{y - height / 2}" width="{width}" '
                 f'height="{height}" rx="{round_}" class="{kind}" stroke-width="1.4"/>')
        self.text(x, y + (-2 if below else 4.5), words, "strong" if strong else "")
        if below:
            self.text(x, y + 13, below, "small")
        return self

    def client(self, x, y, name, below=""):
        return self.box(x, y, 86, 34, "client", name, below)

    def thread(self, x, y, words="the thread", below="", width=150, height=44):
        return self.box(x, y, width, height, "thread", words, below)

    def kernel(self, x, y, words, below="", width=150, height=44):
        return self.box(x, y, width, height, "kernel", words, below)

    def arrow(self, x1, y1, x2, y2, kind, words="", lift=6):
        """From (x1, y1) to (x2, y2)."""
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        ux, uy = (x2 - x1) / length, (y2 - y1) / length
        bx, by = x2 - 9 * ux, y2 - 9 * uy
        self.add(f'<path d="M{x1:g} {y1:g} L{bx:.1f} {by:.1f}" class="{kind}"/>')
        self.add(f'<path d="M{x2:g} {y2:g} L{bx - 4 * uy:.1f} {by + 4 * ux:.1f} '
                 f'L{bx + 4 * uy:.1f} {by - 4 * ux:.1f} Z" class="head-{kind}"/>')
        if words:
            self.text((x1 + x2) / 2, (y1 + y2) / 2 - lift, words, "small")
        return self

    def legend(self):
        y = self.height - 14
        self.arrow(16, y - 4, 52, y - 4, "wait").text(60, y, "waits for", "small", "start")
        self.arrow(136, y - 4, 172, y - 4, "go").text(180, y, "is at work on", "small", "start")
        return self

    def labels(self):
        return {self.title, *(part.words for part in self.parts if isinstance(part, Words))}

    def svg(self, language):
        body = "\n".join(f"{part.before}{escaped(language.say(part.words))}</text>"
                         if isinstance(part, Words) else part for part in self.parts)
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img"{language.attribute}>\n'
                f"  <title>{escaped(language.say(self.title))}</title>\n"
                f"  <style>{STYLE.replace('FALLBACK', language.fallback)}  </style>\n"
                f"{body}\n</svg>\n")


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


YS = (40, 95, 150)


def blocking():
    p = Picture("blocking", "One thread waits for one client; the others wait for the thread", 215)
    p.thread(320, 40, "the thread", "in recv(ann)")
    for y, name in zip(YS, NAMES):
        p.client(60, y, name)
    p.arrow(245, 40, 104, 40, "wait", "waits for ann alone")
    p.kernel(550, 122, "the listener's queue", "ben, cas", 166)
    p.arrow(104, 95, 246, 54, "wait")
    p.arrow(104, 150, 264, 63, "wait")
    p.text(212, 122, "wait for the thread", "small", "start")
    p.text(550, 165, "connected by the kernel,", "small")
    p.text(550, 180, "heard by nobody", "small")
    return p.legend()


def threads():
    p = Picture("threads", "Each thread waits for its own client", 240)
    for y, name in zip(YS, NAMES):
        p.client(60, y, name)
        p.thread(320, y, f"{name}'s thread", "in recv", 150, 42)
        p.arrow(245, y, 104, y, "wait")
    p.thread(560, 40, "the main thread", "in accept", 140, 42)
    p.kernel(560, 122, "the listener", "", 140, 36)
    p.arrow(560, 62, 560, 103, "wait")
    p.text(560, 160, "a stack for each thread,", "small")
    p.text(560, 175, "so there is a limit", "small")
    return p.legend()


def non_blocking():
    p = Picture("non-blocking",
                "The thread asks everybody, over and over, and waits for nobody", 215)
    p.box(420, 95, 170, 48, "busy", "the thread", "never sleeps")
    for y, name in zip(YS, NAMES):
        p.client(60, y, name)
        p.arrow(334, 95 + (y - 95) * 0.3, 104, y, "go", "anything?  not yet" if y == 95 else "")
    p.text(420, 142, "a whole processor, used to hear EAGAIN", "small")
    return p.legend()


def select():
    p = Picture("select",
                "The thread waits for all; in every call it tells the kernel all of them", 230)
    for y, name in zip(YS, NAMES):
        p.client(60, y, name)
        p.arrow(246, 95 + (y - 95) * 0.3, 104, y, "wait")
    p.kernel(325, 95, "inside select", "looks at every one", 156, 52)
    p.thread(560, 95, "the thread", "sleeps", 110)
    p.arrow(505, 86, 404, 86, "go", "all descriptors")
    p.arrow(404, 106, 505, 106, "go")
    p.text(455, 124, "the ready ones", "small")
    p.text(360, 146, "it forgets them when the call returns", "small")
    return p.legend()


def poll():
    p = Picture("poll",
                "As select, with one array that says for each descriptor what is wanted", 230)
    for y, name in zip(YS, NAMES):
        p.client(60, y, name)
        p.arrow(246, 95 + (y - 95) * 0.3, 104, y, "wait")
    p.kernel(325, 95, "inside poll", "looks at every one", 156, 52)
    p.thread(560, 60, "the thread", "sleeps", 110)
    for i, words in enumerate(("ann", "ben", "cas")):
        p.add(f'<rect x="{488 + 48 * i}" y="120" width="48" height="26" class="kernel" '
              f'stroke-width="1.4"/>').text(512 + 48 * i, 137, words, "small")
    p.text(632, 164, "pollfd: descriptor, wanted, found", "small", "end")
    p.arrow(505, 66, 404, 88, "go", "the array", 8)
    p.arrow(404, 104, 486, 130, "go")
    p.text(430, 136, "found", "small")
    return p.legend()


def epoll():
    p = Picture("epoll",
                "The kernel keeps the set; the thread waits for the list of the ready ones", 230)
    for y, name in zip(YS, NAMES):
        p.client(60, y, name)
    p.kernel(285, 62, "the set", "told once: epoll_ctl", 150, 44)
    p.kernel(285, 124, "the ready list", "ben", 150, 40)
    p.arrow(210, 58, 104, 42, "wait").arrow(210, 70, 106, 144, "wait")
    p.arrow(104, 97, 209, 124, "go")
    p.thread(565, 124, "the thread", "in epoll_wait", 130)
    p.arrow(499, 124, 362, 124, "wait", "waits for the list")
    p.text(330, 184, "who has something is put on the list; who is idle costs nothing", "small")
    return p.legend()


def level_edge():
    p = Picture("level-edge",
                "Level reports while there is something; edge when something comes", 250)
    p.text(20, 30, "unread bytes", "small", "start")
    p.add('<path d="M120 60 H200 V24 H330 V42 H460 V60 H620" class="line"/>')
    p.text(196, 18, "6,002 arrive", "small", "end")
    p.text(395, 34, "1,906 are left", "small")
    for x, words in ((330, "recv: 4,096"), (460, "recv: 1,906")):
        p.add(f'<path d="M{x} 66 V76" class="line"/>').text(x, 90, words, "small")
    for y, name, reports in ((130, "level", (220, 350)), (180, "edge", (220,))):
        p.text(20, y + 5, name, "strong", "start")
        p.add(f'<path d="M120 {y} H620" class="line"/>')
        for x in reports:
            p.add(f'<circle cx="{x}" cy="{y}" r="7" class="client" stroke-width="1.4"/>')
    p.text(220, 112, "report", "small").text(350, 112, "report", "small")
    p.text(350, 172, "silence: nothing new came", "small")
    p.add('<path d="M480 130 H620" class="wait"/>').text(545, 122, "nothing to report", "small")
    p.text(120, 222,
           "So with edge the program must read on until EAGAIN: nobody reminds it of what it left.",
           "small", "start")
    return p


def loop():
    p = Picture("loop", "The loop waits for all, and calls back the object whose turn it is", 235)
    p.kernel(80, 95, "the poller", "all clients", 120)
    p.thread(290, 95, "the loop", "the only thread", 130)
    p.arrow(224, 95, 142, 95, "wait", "waits")
    for y, name in zip(YS, NAMES):
        p.box(520, y, 190, 40, "kernel", f"{name}'s callback", "what is unsent, which state")
    p.arrow(356, 95, 424, 95, "go")
    p.arrow(424, 46, 356, 80, "wait").arrow(424, 144, 356, 110, "wait")
    p.text(300, 185,
           "calls one, which does what can be done now, says what it waits for, and returns",
           "small")
    return p.legend()


def coroutines():
    p = Picture("coroutines", "Each conversation is a function that sleeps at co_await", 245)
    p.kernel(80, 95, "the poller", "all clients", 120)
    p.thread(270, 95, "the loop", "the only thread", 130)
    p.arrow(204, 95, 142, 95, "wait", "waits")
    for y, name, words in zip(YS, NAMES, ("co_await stream.read", "between two of them",
                                          "co_await stream.write_all")):
        p.box(510, y, 230, 40, "thread" if y == 95 else "kernel", f"echo({name})", words)
    p.arrow(336, 95, 394, 95, "go")
    p.arrow(394, 44, 338, 76, "wait").arrow(394, 146, 338, 114, "wait")
    p.text(300, 190, "one runs, the others sleep in the middle of a line and keep their variables",
           "small")
    return p.legend()


def long_handler():
    p = Picture("long-handler", "While one handler computes, everybody waits", 190)
    p.text(20, 45, "the loop", "strong", "start")
    p.text(20, 95, "ann", "strong", "start").text(20, 140, "ben", "strong", "start")
    p.add('<path d="M100 40 H620" class="line"/>')
    p.add('<rect x="180" y="26" width="320" height="28" rx="3" class="busy" stroke-width="1.4"/>')
    p.text(340, 45, "ann's handler computes for 200 ms", "strong")
    p.add('<rect x="502" y="26" width="20" height="28" class="thread" stroke-width="1.4"/>')
    for y, begin, end, words in ((90, 170, 502, "work, and its answer"),
                                 (135, 200, 522, "ping, and its answer")):
        p.add(f'<path d="M100 {y} H620" class="line" opacity="0.35"/>')
        p.arrow(begin, y, end, y, "wait", words)
    p.text(320, 172,
           "nobody is asked, nobody is answered, no connection is accepted, no timer runs", "small")
    return p


def offload():
    p = Picture("offload", "Another thread computes, and the loop serves everybody else", 235)
    p.text(20, 45, "the pool", "strong", "start").text(20, 90, "the loop", "strong", "start")
    p.text(20, 140, "ann", "strong", "start").text(20, 185, "ben", "strong", "start")
    for y in (40, 85):
        p.add(f'<path d="M100 {y} H620" class="line"/>')
    p.add('<rect x="190" y="26" width="320" height="28" rx="3" class="busy" stroke-width="1.4"/>')
    p.text(350, 45, "a thread of its own computes for 200 ms", "strong")
    for x in (176, 240, 330, 420, 514):
        p.add(f'<rect x="{x}" y="71" width="12" height="28" class="thread" stroke-width="1.4"/>')
    for y in (135, 180):
        p.add(f'<path d="M100 {y} H620" class="line" opacity="0.35"/>')
    p.arrow(170, 135, 520, 135, "wait", "work, and its answer")
    for x in (225, 315, 405):
        p.arrow(x, 180, x + 27, 180, "wait")
    p.text(350, 170, "a ping, and its answer, three times", "small")
    p.text(320, 217, "the loop begins the work and is free; the pool tells it when it is done",
           "small")
    return p


def channels():
    p = Picture("channels", "What one says goes into the channels of the others, each with a bound",
                235)
    p.client(60, 95, "ann").thread(205, 95, "receive_lines", "ann's", 120)
    p.arrow(143, 95, 105, 95, "wait")
    for y, name, lines in ((50, "ben", 0), (140, "cas", 4)):
        for i in range(4):
            kind = "busy" if i < lines else "kernel"
            p.add(f'<rect x="{306 + 20 * i}" y="{y - 13}" width="20" height="26" class="{kind}" '
                  'stroke-width="1.4"/>')
        p.text(346, y - 20, f"{name}'s channel", "small")
        p.thread(472, y, "send_lines", f"{name}'s", 110)
        p.client(590, y, name)
    p.arrow(266, 86, 302, 56, "go").arrow(266, 104, 302, 134, "go")
    p.arrow(416, 50, 388, 50, "wait").arrow(528, 140, 546, 140, "wait")
    p.text(346, 168, "full: she is dropped", "small")
    p.text(590, 168, "does not read", "small")
    p.text(472, 84, "waits for a line", "small").text(472, 174, "waits for cas", "small")
    p.text(320, 200, "who speaks puts in and goes on, and waits for nobody who reads", "small")
    return p.legend()


def choose():
    p = Picture("choose", "Which way, by what the program does", 300)
    rows = (("one conversation at a time?", "blocking calls", "01"),
            ("a few, and each computes or calls what blocks?", "a thread for each", "02"),
            ("a few descriptors, one place in the program?", "select or poll", "04 or 07"),
            ("many, and a conversation has several steps?", "coroutines on a loop", "12"),
            ("many, and one step answers each message?", "callbacks on a poller", "11"))
    for i, (question, answer, number) in enumerate(rows):
        y = 34 + 56 * i
        p.box(180, y, 330, 36, "kernel", question, strong=False)
        p.box(530, y, 200, 36, "thread", answer, f"program {number}")
        p.arrow(346, y, 428, y, "go", "yes")
        if i + 1 < len(rows):
            p.arrow(60, y + 18, 60, y + 37, "go").text(84, y + 33, "no", "small")
    return p


PICTURES = (blocking, threads, non_blocking, select, poll, epoll, level_edge, loop, coroutines,
            long_handler, offload, channels, choose)


def main():
    for picture in (draw() for draw in PICTURES):
        for language in LANGUAGES:
            language.folder.mkdir(exist_ok=True)
            (language.folder / f"{picture.name}.svg").write_text(picture.svg(language),
                                                                 encoding="utf-8")


if __name__ == "__main__":
    main()
