"""Makes the Nth allocation or system call of a program fail (tests/tools/fault_injection.c).

    faults = Faults(folder)
    subprocess.run([program], env={**os.environ, **faults.environment(build_dir)})

A program is armed before it starts (every call from its first one on counts), or while it serves a request.
"""

import mmap
import os
import struct

PAGE = 4096
ARMED, FAIL_AT, CALLS, FAILED, LIVE = range(0, 40, 8)  # struct control
NAME = 40


class Faults:
    def __init__(self, folder):
        self.path = folder / "faults"
        self.path.write_bytes(bytes(PAGE))
        with open(self.path, "r+b") as file:
            self.shared = mmap.mmap(file.fileno(), PAGE)

    def environment(self, build_dir):
        sanitizer = os.environ.get("ASAN_OPTIONS", "")
        return {"LD_PRELOAD": str(build_dir / "tests" / "tools" / "libfault_injection.so"),
                "FAULTS_FILE": str(self.path),
                "ASAN_OPTIONS": f"{sanitizer}:verify_asan_link_order=0:allocator_may_return_null=1".lstrip(":")}

    def _set(self, at, value):
        self.shared[at:at + 8] = struct.pack("=Q", value)

    def _get(self, at):
        return struct.unpack("=Q", self.shared[at:at + 8])[0]

    def arm(self, fail_at):
        """The call `fail_at` from now on fails; 0: none does, they are only counted."""
        self._set(ARMED, 0)
        self.shared[NAME:NAME + 40] = bytes(40)
        self._set(FAILED, 0)
        self._set(CALLS, 0)
        self._set(FAIL_AT, fail_at)
        self._set(ARMED, 1)

    def disarm(self):
        """How many calls there were, and which one failed: the function's name, or None."""
        self._set(ARMED, 0)
        name = self.shared[NAME:NAME + 40].rstrip(b"\0").decode()
        return self._get(CALLS), name if self._get(FAILED) else None

    def live(self):
        """How many blocks of memory the program holds, but for those from before it was watched."""
        return struct.unpack("=q", self.shared[LIVE:LIVE + 8])[0]
