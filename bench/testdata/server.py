"""Serves tasks over HTTP as the Python module does: a thread for each connection, and each call opens a connection to the database,
makes its statement, and closes it. Workers are threads that take ids from a queue.

usage: server.py DATABASE WORKERS

It prints the port that it listens at, on loopback. POST /tasks creates a task, GET /tasks/ID is its status, GET /tasks/ID/result its result.
"""

import http.server
import json
import queue
import sqlite3
import sys
import threading
import time
import uuid

PATH, WORKERS = sys.argv[1], int(sys.argv[2])
RESULT = {"text": "page " * 97}

CREATE = "INSERT INTO tasks (id, type, status, created_at) VALUES (?, ?, ?, ?)"
BEGIN = "UPDATE tasks SET status = ?, updated_at = ? WHERE id = ?"
COMPLETE = "UPDATE tasks SET status = ?, result = ?, updated_at = ? WHERE id = ?"
STATUS = "SELECT status, created_at, updated_at FROM tasks WHERE id = ?"
GET = "SELECT status, result, created_at, updated_at FROM tasks WHERE id = ?"

pending = queue.SimpleQueue()


def run(sql, args):
    db = sqlite3.connect(PATH, timeout=600)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA synchronous=FULL")
        row = db.execute(sql, args).fetchone()
        db.commit()
        return row
    finally:
        db.close()


def work():
    while True:
        id = pending.get()
        run(BEGIN, ("processing", int(time.time()), id))
        run(COMPLETE, ("completed", json.dumps(RESULT, ensure_ascii=False), int(time.time()), id))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept
    wbufsize = -1  # an answer is one write

    def log_message(self, *args):
        pass

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        task = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        id = str(uuid.uuid4())
        run(CREATE, (id, task["type"], "pending", int(time.time())))
        pending.put(id)
        self.answer(201, {"id": id, "status": "pending"})

    def do_GET(self):
        parts = self.path.split("/")
        row = run(GET if len(parts) == 4 else STATUS, (parts[2],))
        if row is None:
            return self.answer(404, {"title": "There is no such task"})
        if len(parts) == 4:
            return self.answer(200, json.loads(row["result"]))
        self.answer(200, {"id": parts[2], "status": row["status"], "created_at": row["created_at"], "updated_at": row["updated_at"]})


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True

    def handle_error(self, request, client_address):
        # Clients that the end of the time has cut off are none.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


for _ in range(WORKERS):
    threading.Thread(target=work, daemon=True).start()
server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
