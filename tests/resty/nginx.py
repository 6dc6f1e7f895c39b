"""An nginx of a test's own: prefix and database in a temporary folder, a free port of 127.0.0.1, stopped by its pid."""

import http.client
import os
import pathlib
import shutil
import signal as signals
import socket
import subprocess
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["TITO_BUILD"]).resolve()
NGINX = pathlib.Path(os.environ["TITO_NGINX"]).resolve()  # made by .ci/nginx
PATIENCE = 60.0
PRELOAD = os.environ.get("TITO_TEST_PRELOAD", "")  # what LuaJIT is started with, the runtime of a sanitizer
CLUSTER = os.environ.get("TITO_TEST_PD", "")  # the PDs of a TiKV cluster to test on

MAIN = """
load_module {nginx}/modules/ndk_http_module.so;
load_module {nginx}/modules/ngx_http_lua_module.so;
daemon off;
{user}
worker_processes {workers};
error_log {folder}/error.log notice;
pid {folder}/nginx.pid;
env TMPDIR;
{main}
worker_shutdown_timeout 50s;
events {{ worker_connections 1024; }}
http {{
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; access_log off;
  lua_package_path "{root}/bindings/resty/?.lua;{build}/bindings/resty/?.lua;{root}/lua/?.lua;{root}/tests/lua/?.lua;{root}/tests/resty/?.lua;{root}/examples/resty/?.lua;{nginx}/lua/?.lua;{lua_path}/?.lua;;";
  lua_package_cpath "{build}/abi/?.so;;";
{http}
}}
"""


def until(condition, what):
    """Waits until condition() holds and returns what it answered; the bound is generous."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError("it did not come true in time: " + what)
        time.sleep(0.02)


def namespace():
    """A namespace of one's own on the cluster."""
    return os.environ.get("TITO_TEST_NAMESPACE", "titotest.resty.") + uuid.uuid4().hex[:12]


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def luajit(arguments, modules=(), **options):
    """Runs LuaJIT with resty.tito: what subprocess.run answers."""
    folders = [ROOT / "bindings/resty", BUILD / "bindings/resty", ROOT / "lua", *modules]
    environment = dict(os.environ)
    environment["LUA_PATH"] = ";".join(str(folder / "?.lua") for folder in folders) + ";;"
    environment["LUA_CPATH"] = "%s/?.so;;" % (BUILD / "abi")
    environment.pop("TITO_TEST_PD", None)
    if PRELOAD:
        environment["LD_PRELOAD"] = PRELOAD
    return subprocess.run(
        ["luajit", *map(str, arguments)], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        **{"timeout": PATIENCE * 10, **options},
    )


class Nginx:
    """http: the inside of the http block; {data}, {port} and {folder} in it are filled in (other braces stay). main: more
    directives outside of it; lua_path: a folder with more modules."""

    def __init__(self, http, workers=1, environment=None, main="", lua_path="."):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tito-nginx-"))
        self.data = self.folder / "data"
        (self.folder / "tmp").mkdir()
        self.port = free_port()
        for name in ("data", "port", "folder"):
            http = http.replace("{%s}" % name, str(getattr(self, name)))
        user = "user root;" if os.geteuid() == 0 else ""
        self.conf = self.folder / "nginx.conf"
        self.conf.write_text(
            MAIN.format(
                nginx=NGINX, user=user, workers=workers, folder=self.folder, root=ROOT, build=BUILD, http=http,
                main=main, lua_path=lua_path,
            )
        )
        self.environment = dict(os.environ, TMPDIR=str(self.folder / "tmp"), **(environment or {}))
        self.environment.pop("LUA_PATH", None)
        self.environment.pop("LUA_CPATH", None)
        self.process = None

    def command(self, *more):
        return [str(NGINX / "nginx"), "-p", str(self.folder), "-c", str(self.conf), "-e", str(self.folder / "error.log"), *more]

    def start(self):
        self.process = subprocess.Popen(
            self.command(), env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self.listens, "nginx listens")
        return self

    def listens(self):
        if self.process.poll() is not None:
            raise AssertionError("nginx ended:\n" + self.log())
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE).close()
        except OSError:
            return False
        return self.workers()

    def workers(self):
        """The pids of nginx's worker processes, leaving ones too."""
        path = "/proc/%d/task/%d/children" % (self.process.pid, self.process.pid)
        return [int(pid) for pid in pathlib.Path(path).read_text().split()]

    def signal(self, number):
        os.kill(self.process.pid, number)

    def reload(self):
        """HUP; returns when the old workers have gone."""
        old = set(self.workers())
        self.signal(signals.SIGHUP)
        until(lambda: self.workers() and not old & set(self.workers()), "the old workers have gone")

    def stop(self, how=signals.SIGQUIT):
        """Ends nginx and answers its exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.signal(how)
        try:
            return self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("nginx did not end:\n" + self.log())

    def close(self):
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop(signals.SIGTERM)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def log(self):
        path = self.folder / "error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def errors(self):
        """The lines of the log that say that something is wrong."""
        return [l for l in self.log().splitlines() if any("[%s]" % w in l for w in ("warn", "error", "crit", "alert", "emerg"))]

    def request(self, method, path, body=None, headers=None):
        """(status, text, headers) of a request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE * 4)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}, Connection="close"))
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace"), response.headers
        finally:
            connection.close()

    def get(self, path):
        status, text, _ = self.request("GET", path)
        if status != 200:
            raise AssertionError("GET %s: %d %s\n%s" % (path, status, text, self.log()[-4000:]))
        return text
