"""base, quant, model, engine and backend need a C compiler and POSIX, and no other library.

Headers are followed through other rooms, so that a third-party header cannot come in by way of one
that engine/ uses.
"""

from includes import quoted_includes, source_files, system_includes

FREE_ROOMS = ("base", "quant", "model", "engine", "backend")

C17 = """
assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg
stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype
""".split()
POSIX = """
dirent dlfcn fcntl poll pthread sched semaphore strings unistd
sys/mman sys/resource sys/stat sys/time sys/types sys/uio sys/utsname sys/wait
""".split()
# What the compiler or the system brings for one processor or one system; always inside an #if.
PLATFORM = """
immintrin cpuid arm_neon arm_acle
sys/auxv asm/hwcap sys/sysinfo sys/prctl linux/audit linux/filter linux/memfd linux/mempolicy linux/seccomp sys/ioctl sys/socket
sys/syscall
sys/sysctl mach/mach mach/mach_time mach-o/dyld pthread/qos
""".split()
KNOWN = {f"{name}.h" for name in C17 + POSIX + PLATFORM}


def third_party_includes(root):
    waiting = [path for path in source_files(root) if path.relative_to(root / "src").parts[0] in FREE_ROOMS]
    seen = set(waiting)
    found = []
    while waiting:
        path = waiting.pop()
        for name in system_includes(path):
            if name not in KNOWN:
                found.append(f"{path.relative_to(root)} includes <{name}>")
        for name in quoted_includes(path):
            header = root / "src" / name
            if header.is_file() and header not in seen:
                seen.add(header)
                waiting.append(header)
    return found


def test_the_lower_rooms_use_no_library(source_root):
    assert third_party_includes(source_root) == []


def test_a_library_header_is_found(tmp_path):
    """The check itself can fail, directly and through another room's header."""
    for room in ("model", "text", "engine"):
        (tmp_path / "src" / room).mkdir(parents=True)
    (tmp_path / "src/model/a.c").write_text("#include <stdio.h>\n")
    (tmp_path / "src/text/b.h").write_text("#include <jansson.h>\n")
    assert third_party_includes(tmp_path) == []
    (tmp_path / "src/engine/c.c").write_text('#include "text/b.h"\n')
    assert third_party_includes(tmp_path) == ["src/text/b.h includes <jansson.h>"]
    (tmp_path / "src/model/a.c").write_text("#include <curl/curl.h>\n")
    assert "src/model/a.c includes <curl/curl.h>" in third_party_includes(tmp_path)
