"""A model server of somebody's own, as a custom container has it: V1 and V2 over HTTP.

Predicts the sum of each row. `--transform` makes it a transformer: it scales what it gets by
ten and asks the predictor at `--predictor_host`, as KServe's transformers do.
"""

import argparse
import json
import os
import pathlib
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("--model_name", default=os.environ.get("MODEL_NAME", "model"))
parser.add_argument("--http_port", type=int, default=int(os.environ.get("PORT", "8080")))
parser.add_argument("--predictor_host", default="")
parser.add_argument("--transform", action="store_true")
parser.add_argument("--model_dir", default="")
options = parser.parse_args()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.reply({"name": options.model_name, "ready": True})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if options.transform:
            self.reply(self.transformed(body))
        elif "instances" in body:
            self.reply({"predictions": [sum(row) for row in body["instances"]], **self.seen()})
        else:
            (tensor,) = body["inputs"]
            count, width = tensor["shape"]
            data = [sum(tensor["data"][i * width : (i + 1) * width]) for i in range(count)]
            output = {"name": "sum", "datatype": "FP64", "shape": [count], "data": data}
            self.reply({"model_name": options.model_name, "outputs": [output]})

    def seen(self):
        folder = pathlib.Path(options.model_dir)
        files = sorted(each.name for each in folder.iterdir()) if options.model_dir else []
        return {"token": os.environ.get("TOKEN", ""), "files": files}

    def transformed(self, body):
        rows = [[value / 10 for value in row] for row in body["instances"]]
        url = f"http://{options.predictor_host}{self.path}"
        data = json.dumps({"instances": rows}).encode()
        request = urllib.request.Request(url, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            predictions = json.load(answer)["predictions"]
        return {"predictions": [f"class {each}" for each in predictions]}

    def reply(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", options.http_port), Handler).serve_forever()
