"""A cable between a daemon and a server on loopback, that a test can cut and mend.

Cut, it is a network that has parted, not a server that has gone: nothing is closed, no packet is
answered. The kernel is told to drop what comes for the relay's own sockets before TCP sees it, so
that the two sides learn of it as on a real cable: by their time-outs alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import threading

_ATTACH, _DETACH = 26, 27
"""SO_ATTACH_FILTER and SO_DETACH_FILTER of Linux; no privilege is needed."""
_DROP = struct.pack("HBBI", 0x06, 0, 0, 0)
"""A classic BPF program of one instruction: return 0, keep no byte of the packet."""
_CHUNK = 64 * 1024


class Relay:
    """Forwards TCP connections to one port of this machine, both ways."""

    def __init__(self, port: int) -> None:
        """Args: `port` of the server on 127.0.0.1."""
        self._to = port
        self._lock = threading.Lock()
        self._whole = threading.Event()
        self._whole.set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._sockets: set[socket.socket] = {self._listener}
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """From now on nothing passes and nothing is answered."""
        with self._lock:
            self._whole.clear()
            for each in self._sockets:
                _drop_all(each)

    def mend(self) -> None:
        """Everything passes again; what was not given up goes on where it was."""
        with self._lock:
            for each in self._sockets:
                each.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
            self._whole.set()

    def close(self) -> None:
        """End every connection."""
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
            self._whole.set()

    def _accept(self) -> None:
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._sockets |= {near, far}
                if not self._whole.is_set():
                    _drop_all(near)
                    _drop_all(far)
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                self._whole.wait()
                sink.sendall(data)
        self._whole.wait()
        with self._lock:
            self._sockets -= {source, sink}
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _drop_all(sock: socket.socket) -> None:
    program = ctypes.create_string_buffer(_DROP, len(_DROP))
    head = struct.pack("HP", 1, ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH, head)
