"""The index of the cache, when it is closed under those who use it."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from salver.storage.index import Index

THREADS, ROUNDS = 4, 20


def test_closing_it_while_threads_ask_is_an_error_for_them_and_no_crash(tmp_path: Path) -> None:
    for number in range(ROUNDS):
        index = Index(tmp_path / f"{number}.sqlite", lambda: 1.0)
        ended: list[bool] = []

        def ask(index: Index = index, ended: list[bool] = ended) -> None:
            try:
                while True:
                    index.used_bytes()
            except sqlite3.ProgrammingError:
                ended.append(True)

        threads = [threading.Thread(target=ask) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        index.close()
        for thread in threads:
            thread.join(10)
        assert ended == [True] * THREADS
