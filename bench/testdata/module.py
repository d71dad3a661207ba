"""Takes tasks through their lives as the Python module does: each call opens a connection, makes one transaction, and closes it.

usage: module.py DATABASE CALLERS TASKS

Each caller is a process. Threads would share one interpreter lock; with one caller that makes no difference,
with many processes were as fast or faster. They are forked before the time starts.
It prints the seconds that it took, and then the latency of each call.
"""

import json
import multiprocessing
import sqlite3
import sys
import time

RESULT = {"text": "page " * 97}

CREATE = "INSERT INTO tasks (id, type, status, created_at) VALUES (?, ?, ?, ?)"
UPDATE = "UPDATE tasks SET status = ?, result = ?, updated_at = ? WHERE id = ?"


def run(path, sql, args):
    db = sqlite3.connect(path, timeout=600)
    try:
        db.execute("PRAGMA synchronous=FULL")
        db.execute(sql, args)
        db.commit()
    finally:
        db.close()


def create(path, id):
    run(path, CREATE, (id, "document", "pending", int(time.time())))


def begin(path, id):
    run(path, UPDATE, ("processing", None, int(time.time()), id))


def complete(path, id):
    run(path, UPDATE, ("completed", json.dumps(RESULT, ensure_ascii=False), int(time.time()), id))


def caller(path, tasks, taken, ready, out):
    latencies, error = [], None
    ready.wait()
    try:
        while True:
            with taken.get_lock():
                taken.value += 1
                i = taken.value
            if i > tasks:
                break
            for call in (create, begin, complete):
                begun = time.perf_counter()
                call(path, "task-%08d" % i)
                latencies.append(time.perf_counter() - begun)
    except Exception as e:
        error = repr(e)
    out.put((error, time.perf_counter(), latencies))


def main(path, callers, tasks):
    fork = multiprocessing.get_context("fork")
    taken, ready, out = fork.Value("q", 0), fork.Barrier(callers + 1), fork.Queue()
    processes = [fork.Process(target=caller, args=(path, tasks, taken, ready, out)) for _ in range(callers)]
    for p in processes:
        p.start()
    ready.wait()
    start = time.perf_counter()
    results = [out.get() for _ in processes]
    for p in processes:
        p.join()
    for error, _, _ in results:
        if error:
            sys.exit(error)
    print(max(end for _, end, _ in results) - start)
    for _, _, latencies in results:
        for latency in latencies:
            print(latency)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
