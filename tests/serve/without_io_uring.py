"""without_io_uring.py kill|kill:OPERATION|ERRNO COMMAND...: runs the command under a seccomp filter
on the calls of io_uring, which kills the process or answers ERRNO (a number); with OPERATION, only
on that one (a number) of io_uring_register. Ends with 77 without seccomp.
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_KILL_PROCESS = 0x8000_0000
SECCOMP_RET_ERRNO = 0x0005_0000
SECCOMP_RET_ALLOW = 0x7fff_0000
LOAD, EQUAL, GREATER_OR_EQUAL, GREATER, RETURN = 0x20, 0x15, 0x35, 0x25, 0x06
FIRST, LAST = 425, 427  # io_uring_setup, io_uring_enter, io_uring_register
SECOND_ARGUMENT = 24 if sys.byteorder == "little" else 28  # the low half of seccomp_data.args[1]


class Program(ctypes.Structure):
    _fields_ = [("size", ctypes.c_ushort), ("code", ctypes.c_void_p)]


answer, _, operation = sys.argv[1].partition(":")
verdict = SECCOMP_RET_KILL_PROCESS if answer == "kill" else SECCOMP_RET_ERRNO | int(answer)
steps = ((LOAD, 0, 0, 0),  # seccomp_data.nr
         (GREATER_OR_EQUAL, 0, 2, FIRST),
         (GREATER, 1, 0, LAST),
         (RETURN, 0, 0, verdict),
         (RETURN, 0, 0, SECCOMP_RET_ALLOW))
if operation:
    steps = ((LOAD, 0, 0, 0),
             (EQUAL, 0, 3, LAST),
             (LOAD, 0, 0, SECOND_ARGUMENT),
             (EQUAL, 0, 1, int(operation)),
             (RETURN, 0, 0, verdict),
             (RETURN, 0, 0, SECCOMP_RET_ALLOW))
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
program = Program(len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if (libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)):
    print(f"no seccomp here: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
    sys.exit(77)
os.execvp(sys.argv[2], sys.argv[2:])
