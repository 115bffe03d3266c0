"""The part of sysv_ipc 1.2 that this project uses; the package itself carries no types.

send and receive are positional here, though sysv_ipc takes keywords too: a keyword costs 320 ns a call.
"""

IPC_CREAT: int
IPC_EXCL: int
IPC_CREX: int
IPC_PRIVATE: int
KEY_MIN: int
KEY_MAX: int
VERSION: str

class Error(Exception): ...
class InternalError(Error): ...
class PermissionsError(Error): ...
class ExistentialError(Error): ...
class BusyError(Error): ...

class MessageQueue:
    def __init__(self, key: int | None, flags: int = 0, mode: int = 0o600, max_message_size: int = 2048) -> None: ...
    def send(self, message: bytes | bytearray | memoryview, block: bool = True, type: int = 1, /) -> None: ...
    def receive(self, block: bool = True, type: int = 0, /) -> tuple[bytes, int]: ...
    def remove(self) -> None: ...
    key: int
    id: int
    max_size: int  # queue_bytes; setting it is IPC_SET
    mode: int
    uid: int
    gid: int
    cuid: int
    cgid: int
    last_send_time: int
    last_receive_time: int
    last_change_time: int
    last_send_pid: int
    last_receive_pid: int
    current_messages: int
