"""Python's own library at what asks most of a system: threads, processes, sockets, event loops, shared memory.

Run in the guest as a file (`spawn` starts it again), prints a line a check and `N passed, N failed`.
"""
import asyncio
import concurrent.futures
import fcntl
import mmap
import multiprocessing
import os
import pty
import select
import selectors
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from multiprocessing import shared_memory

results = {True: 0, False: 0}


def check(name, good):
    results[bool(good)] += 1
    print(("ok " if good else "not ok ") + name, flush=True)


def square(x):
    return x * x


def threads():
    count, lock = [0], threading.Lock()

    def work():
        for _ in range(2000):
            with lock:
                count[0] += 1

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    check("threads and a lock", count[0] == 16000)
    barrier, seen = threading.Barrier(4), []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda x: (barrier.wait(5), seen.append(x)), range(4)))
    check("barrier", sorted(seen) == [0, 1, 2, 3])
    event = threading.Event()
    timer = threading.Timer(0.05, event.set)
    timer.start()
    check("timer", event.wait(10))
    begun = time.monotonic()
    check("wait with a limit", not threading.Event().wait(0.05) and time.monotonic() - begun >= 0.05)


def processes():
    done = subprocess.run(["sh", "-c", "read x; echo got $x; exit 3"], input="abc\n", capture_output=True, text=True)
    check("subprocess", (done.stdout, done.returncode) == ("got abc\n", 3))
    child = subprocess.Popen(["sleep", "100"])
    child.terminate()
    check("terminate", child.wait() == -signal.SIGTERM)
    try:
        subprocess.run(["sleep", "100"], timeout=0.1)
        check("subprocess with a limit", False)
    except subprocess.TimeoutExpired:
        check("subprocess with a limit", True)
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(3) as pool:
            check("pool by " + method, pool.map(square, range(20)) == [x * x for x in range(20)])
    queue = multiprocessing.Queue()
    child = multiprocessing.Process(target=queue.put, args=(5,))
    child.start()
    check("queue of processes", queue.get() == 5)
    child.join()
    with multiprocessing.Manager() as manager:
        shared = manager.dict()
        shared["a"] = 1
        check("manager", shared["a"] == 1)
    memory = shared_memory.SharedMemory(create=True, size=100)
    memory.buf[0] = 7
    again = shared_memory.SharedMemory(memory.name)
    check("shared memory by name", again.buf[0] == 7)
    again.close()
    memory.close()
    memory.unlink()
    with mmap.mmap(-1, 4096) as area:
        if os.fork() == 0:
            area[0] = 9
            os._exit(0)
        os.wait()
        check("shared anonymous memory", area[0] == 9)


def sockets(folder):
    one, other = socket.socketpair()
    one.sendall(b"hi")
    check("socket pair", other.recv(10) == b"hi")
    one.close()
    check("end of a stream", other.recv(1) == b"")
    other.close()
    path = os.path.join(folder, "stream")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def serve():
        connection, _ = server.accept()
        connection.sendall(connection.recv(100).upper())
        connection.close()

    worker = threading.Thread(target=serve)
    worker.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"abc")
        check("client and server", client.recv(10) == b"ABC")
    worker.join()
    server.close()
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    reader, writer = os.pipe()
    socket.send_fds(left, [b"x"], [reader])
    _, descriptors, _, _ = socket.recv_fds(right, 10, 4)
    os.write(writer, b"passed")
    check("descriptor passing", os.read(descriptors[0], 10) == b"passed")
    chosen = selectors.DefaultSelector()
    chosen.register(right, selectors.EVENT_READ, "right")
    left.send(b"wake")
    check("selector", [key.data for key, _ in chosen.select(5)] == ["right"])
    poll = select.poll()
    poll.register(writer, select.POLLOUT)
    check("poll", poll.poll(0) == [(writer, select.POLLOUT)])


async def loops(folder):
    queue = asyncio.Queue()

    async def produce():
        for number in range(100):
            await queue.put(number)
            await asyncio.sleep(0)

    async def consume():
        return sum([await queue.get() for _ in range(100)])

    check("asyncio: queue", (await asyncio.gather(produce(), consume()))[1] == 4950)
    child = await asyncio.create_subprocess_exec("echo", "x", stdout=asyncio.subprocess.PIPE)
    check("asyncio: subprocess", (await child.communicate())[0] == b"x\n")

    async def answer(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    path = os.path.join(folder, "loop")
    async with await asyncio.start_unix_server(answer, path):
        async def ask(number):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"hey %d\n" % number)
            line = await reader.readline()
            writer.close()
            return line == b"HEY %d\n" % number

        check("asyncio: 50 connections", all(await asyncio.gather(*map(ask, range(50)))))
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0.05)
        check("asyncio: limit", False)
    except asyncio.TimeoutError:
        check("asyncio: limit", True)
    check("asyncio: in a thread", await asyncio.to_thread(square, 7) == 49)
    got = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, got.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(got.wait(), 10)
    check("asyncio: signal", True)


def the_rest(folder):
    got = []
    signal.signal(signal.SIGALRM, lambda *_: got.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    signal.pause()
    check("interval timer", got == [1])
    check("sigtimedwait", signal.sigtimedwait([signal.SIGUSR2], 0.01) is None)
    child, master = pty.fork()
    if child == 0:
        os.execvp("sh", ["sh", "-c", "read x; stty size"])
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", 33, 77, 0, 0))
    os.write(master, b"\n")
    text = b""
    try:
        while part := os.read(master, 100):
            text += part
    except OSError:
        pass
    os.waitpid(child, 0)
    check("pseudo-terminal", text.split() == [b"33", b"77"])
    data = sqlite3.connect(os.path.join(folder, "data"))
    data.execute("CREATE TABLE t(a)")
    data.executemany("INSERT INTO t VALUES(?)", ((x,) for x in range(1000)))
    check("sqlite3", data.execute("SELECT sum(a) FROM t").fetchone() == (499500,))
    with open(os.path.join(folder, "locked"), "w") as one, open(os.path.join(folder, "locked"), "w") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            check("flock", False)
        except BlockingIOError:
            check("flock", True)
    check("times", os.times().elapsed > 0 and time.process_time() > 0 and time.thread_time() >= 0)
    check("random", len(set(os.urandom(64))) > 10)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        threads()
        processes()
        sockets(place)
        asyncio.run(loops(place))
        the_rest(place)
    print(f"{results[True]} passed, {results[False]} failed")
    sys.exit(results[False] > 0)
