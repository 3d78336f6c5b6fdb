"""Files of arrays and one JSON text: written whole or not at all, read within limits, and nothing in them is run.

A file is a zip of `settings.json` and `<name>.npy` entries, stored as it is, so `numpy.load(path)["w"]` reads an
array of it too.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import os
import re
import socket
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

TEXT_BYTES = 2**24  # of the JSON text
HEADER_BYTES = 2**14  # of an array's header, more than NumPy writes
NUMBERS = "biuf"  # kinds of arrays that are read
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

_count = itertools.count()


def given(path: Any, name: str) -> Path:
    """What the user gave as a path. Raises TypeError or ValueError where it is none.

    Examples
    --------
    >>> given(None, "out")
    Traceback (most recent call last):
    ...
    TypeError: out=None must be the path of a file
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name}={path!r} must be the path of a file")
    if "\0" in str(path):
        raise ValueError(f"{name}={str(path)!r} holds a zero byte, which no path does")
    return Path(path)


def target(path: str | os.PathLike[str], name: str) -> Path:
    """The file that will be written, links followed; refused now, not after hours of work, where it cannot be.

    Parameters
    ----------
    path : path-like
        What the user gave.
    name : str
        The argument's name, for the message.

    Raises
    ------
    ValueError
        For a folder, a device, a missing folder, or one that cannot be written to; the message says which.

    Examples
    --------
    >>> target("/dev/null", "out")
    Traceback (most recent call last):
    ...
    ValueError: out='/dev/null' is a folder or a device: give the path of a file
    """
    shown = f"{name}={str(given(path, name))!r}"
    try:
        real = Path(os.path.realpath(path))
        if real.exists() and not stat.S_ISREG(real.stat().st_mode):
            raise ValueError(f"{shown} is a folder or a device: give the path of a file")
        if not real.parent.is_dir():
            raise ValueError(f"{shown}: its folder does not exist; create it first")
        sweep(real)
        with _exclusive(_beside(real)):  # only a try tells: access rights, full and read-only disks, root
            pass
    except OSError as error:
        raise ValueError(f"{shown} cannot be written: {error.strerror}; choose another place") from None
    return real


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Any]:
    """A new binary file that takes the place of `path` where the block ends, and vanishes where it raises.

    Raises OSError with the path, as for a full disk; the old file is then untouched.
    """
    part = _beside(path)
    try:
        with _exclusive(part, keep=True) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(part, stat.S_IMODE(path.stat().st_mode))
        os.replace(part, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """A name that is free: what a killed process of the same number left, as in a container, may still be there."""
    while True:
        part = path.with_name(f".{path.name[:100]}.{socket.gethostname()}.{os.getpid()}.{next(_count)}.part")
        if not os.path.lexists(part):
            return part


@contextlib.contextmanager
def _exclusive(part: Path, keep: bool = False) -> Iterator[Any]:
    """A file that nobody had before: no link of that name is followed."""
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
    finally:
        if not keep:
            part.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove what killed processes of this machine left while they wrote `path`."""
    own = re.compile(rf"\.{re.escape(path.name[:100])}\.{re.escape(socket.gethostname())}\.(\d+)\.\d+\.part")
    with contextlib.suppress(OSError):
        for file in path.parent.iterdir():
            found = own.fullmatch(file.name)
            if found and not _alive(int(found[1])):
                file.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if os.name != "posix":  # elsewhere this call would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def write(path: Path, settings: Mapping[str, Any], arrays: Mapping[str, Any], text: str = "settings.json") -> None:
    """Write all of it or nothing. Raises OSError with the path, and ValueError for an array that holds no numbers."""
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(text, json.dumps(settings, indent=1))
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)


def read(
    path: Path, schema: Callable[[dict[str, Any]], Shapes], text: str = "settings.json"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and arrays of a file.

    Parameters
    ----------
    path : Path
    schema : callable
        From the settings to the shapes of all arrays that there must be; it raises where the settings are wrong.
    text : str
        Name of the JSON entry.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, foreign, or not as the schema says; nothing large was allocated.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, or is no file")
    with damage(path), zipfile.ZipFile(path) as archive:
        known = {info.filename: info for info in archive.infolist()}
        settings = json.loads(_entry(archive, known, text, TEXT_BYTES))
        if not isinstance(settings, dict):
            raise ValueError(f"its {text} is no JSON object")
        shapes = schema(settings)
        extra = sorted(set(known) - {text} - {f"{name}.npy" for name in shapes})
        if extra:
            raise ValueError(f"it holds {extra[0]!r}, which does not belong there")
        return settings, {name: _array(archive, known, name, shapes[name]) for name in shapes}


@contextlib.contextmanager
def damage(path: Any) -> Iterator[None]:
    """One clear ValueError, with the path, for whatever goes wrong on reading."""
    try:
        yield
    except Exception as error:  # a crafted file makes zipfile, json and NumPy raise nearly everything
        reason = f"it has no {error}" if type(error) is KeyError else str(error) or type(error).__name__
        raise ValueError(f"{path} is damaged, or no file of stiffgrad: {reason[:300]}") from error


def _entry(archive: zipfile.ZipFile, known: Mapping[str, Any], name: str, most: int) -> bytes:
    if name not in known:
        raise ValueError(f"it has no {name!r}")
    info = known[name]
    if info.flag_bits & 1:
        raise ValueError(f"{name!r} is encrypted")
    if info.compress_type != zipfile.ZIP_STORED:  # so that no file holds more than its own size
        raise ValueError(f"{name!r} is compressed, which no file of stiffgrad is")
    if info.file_size > most:
        raise ValueError(f"{name!r} has {info.file_size} bytes, more than the {most} that it may have")
    return archive.read(info)


def _array(archive: zipfile.ZipFile, known: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> Any:
    count = math.prod(shape)
    data = io.BytesIO(_entry(archive, known, f"{name}.npy", 8 * count + HEADER_BYTES))
    version = np.lib.format.read_magic(data)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    seen, fortran, dtype = header(data)
    if dtype.kind not in NUMBERS or seen != shape:
        raise ValueError(f"array {name!r} is {dtype} of shape {seen}, not numbers of shape {shape}")
    values = np.frombuffer(data.read(), dtype)
    if values.size != count:
        raise ValueError(f"array {name!r} is cut off")
    return values.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="))
