"""The programs that are measured, and what they need. Each listens on loopback and stops with this process."""

import json
import os
import shutil
import subprocess

from system import APPLICATION, CLIENT, Failure, Process, directory, get, listens, port, until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHECK = "/outpost.goauthentik.io/auth/nginx"
READY = "/outpost.goauthentik.io/ready"
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)",
    "Accept": "*/*",
}
# Programs by name, from `find`.
PATHS = {}
missing = []


def target():
    return os.path.abspath(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")))


def installed(name, extra=()):
    found = shutil.which(name, path=os.pathsep.join([*extra, os.environ["PATH"], "/usr/sbin"]))
    if found:
        PATHS[name] = found
    return found


def go_install(name, module, only_if_installed=False):
    """A program in Go, compiled once; without a network it is left out."""
    tools = os.path.join(target(), "tools", "go", "bin")
    if installed(name, [tools]):
        return
    if only_if_installed or not shutil.which("go"):
        missing.append(f"{name}: it is not installed, and was not compiled")
        return
    print(f"go install {module}", flush=True)
    result = subprocess.run(["go", "install", module], env={**os.environ, "GOBIN": tools},
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if result.returncode or not installed(name, [tools]):
        lines = result.stderr.strip().splitlines() or ["no reason"]
        missing.append(f"{name}: go install {module}: {lines[-1]}")


def build(outpost=None, helpers=None):
    """Builds the outpost as the image has it, and the programs beside it."""
    if outpost is None:
        image = os.path.join(target(), "image")
        print("scripts/image.sh", image, flush=True)
        subprocess.run([os.path.join(ROOT, "scripts/image.sh"), image, "release"], check=True)
        outpost = os.path.join(image, "usr/local/bin/authentik-proxy")
    if helpers is None:
        print("cargo build --release --package authentik-proxy-compare", flush=True)
        subprocess.run(["cargo", "build", "--release", "--locked", "--package", "authentik-proxy-compare"],
                       cwd=ROOT, check=True)
        helpers = os.path.join(target(), "release", "authentik-proxy-compare")
    PATHS["outpost"], PATHS["helpers"] = os.path.abspath(outpost), os.path.abspath(helpers)


class Application(Process):
    """An application with bodies of some sizes, and a websocket that echoes."""

    def __init__(self, cores=None):
        self.port = port()
        super().__init__([PATHS["helpers"], "application", f"127.0.0.1:{self.port}"], cores)
        until(lambda: listens(self.port), self, "listener")


class Authentik(Process):
    """A stand-in for authentik."""

    def __init__(self, application=9, level="info"):
        super().__init__([PATHS["helpers"], "authentik", f"127.0.0.1:{application}", level], CLIENT,
                         stdout=subprocess.PIPE)
        self.facts = self._read()
        self.hosts = self.facts["hosts"]

    def _read(self):
        line = self.child.stdout.readline()
        if not line:
            self.child.wait()
            raise Failure(f"the stand-in: {self.complaint()}")
        return json.loads(line)

    def tell(self, do, **details):
        self.child.stdin.write(json.dumps({"do": do, **details}) + "\n")
        return self._read()

    def cookie(self, server, host):
        """Signs a user in through a server."""
        return self.tell("sign_in", outpost=f"127.0.0.1:{server.port}", host=host)["cookie"]


class Outpost(Process):
    """An outpost: this project's, or another one with the same environment variables."""

    def __init__(self, authentik, path=None, cores=None, log=subprocess.DEVNULL, prefix=(), redis=None):
        self.port = port()
        self.work = directory()
        path = path or PATHS["outpost"]
        env = {
            "PATH": os.environ["PATH"],
            "HOME": self.work,
            "TMPDIR": self.work,
            "AUTHENTIK_HOST": authentik.facts["url"],
            "AUTHENTIK_TOKEN": authentik.facts["token"],
            "AUTHENTIK_LISTEN__HTTP": f"127.0.0.1:{self.port}",
            "AUTHENTIK_LISTEN__HTTPS": "none" if path == PATHS["outpost"] else f"127.0.0.1:{port()}",
            "AUTHENTIK_LISTEN__METRICS": f"127.0.0.1:{port()}",
        }
        if redis:
            env |= {"AUTHENTIK_REDIS__HOST": "127.0.0.1", "AUTHENTIK_REDIS__PORT": str(redis.port)}
        super().__init__([*prefix, path], cores, env, stdout=log)
        self.authentik = authentik

    def ready(self):
        """Waits until it has its configuration: an anonymous check is answered with 401."""
        headers = check_headers(self.authentik.hosts["checked"], "")

        def refused():
            answer = get(self.port, CHECK, headers)
            return answer and answer[0] == 401

        until(refused, self, "401", 0.001)
        return self


class Server(Process):
    """A bare server that answers as an outpost did."""

    def __init__(self, answer, cores=None):
        self.port = port()
        own = {"date", "content-length", "connection", "transfer-encoding"}
        path = os.path.join(directory(), "headers")
        with open(path, "w") as file:
            file.writelines(f"{name}: {value}\n" for name, value in answer if name.lower() not in own)
        super().__init__([PATHS["helpers"], "server", f"127.0.0.1:{self.port}", path], cores)
        until(lambda: listens(self.port), self, "listener")


class Proxy(Process):
    """A bare proxy that adds headers to each request."""

    def __init__(self, application, added, cores=None):
        self.port = port()
        path = os.path.join(directory(), "headers")
        with open(path, "w") as file:
            file.writelines(f"{name}: {value}\n" for name, value in added)
        command = [PATHS["helpers"], "proxy", f"127.0.0.1:{self.port}", f"127.0.0.1:{application.port}", path]
        super().__init__(command, cores)
        until(lambda: listens(self.port), self, "listener")


class Nginx(Process):
    """nginx with a worker for each processor that it may use, which adds headers to each request."""

    def __init__(self, application, added, access_log=None, cores=None):
        self.port = port()
        work = directory()
        os.chmod(work, 0o755)
        user = "user root;" if os.geteuid() == 0 else ""
        lines = "\n".join(f'proxy_set_header {name} "{value}";' for name, value in added)
        text = f"""
daemon off; {user} worker_processes {len(cores) if cores else "auto"}; pid {work}/pid; error_log {work}/error.log;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log {access_log or "off"};
  client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/f;
  uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  keepalive_requests 1000000000; client_max_body_size 0;
  client_header_buffer_size 64k; proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k;
  underscores_in_headers on; ignore_invalid_headers off;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream app {{ server 127.0.0.1:{application.port}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{self.port} backlog=4096;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      {lines}
      proxy_request_buffering off; proxy_max_temp_file_size 0; proxy_read_timeout 1h;
    }}
  }}
}}"""
        path = os.path.join(work, "nginx.conf")
        with open(path, "w") as file:
            file.write(text)
        super().__init__([PATHS["nginx"], "-c", path], cores)
        until(lambda: listens(self.port), self, "listener")


class OAuth2Proxy(Process):
    """oauth2-proxy as forward auth, with its sessions in cookies."""

    def __init__(self, authentik, cores=None):
        self.port = port()
        client, host = authentik.facts["other"], authentik.hosts["other"]
        callback = f"http://{host}/outpost.goauthentik.io/callback?X-authentik-auth-callback=true"
        secret = "0123456789abcdef0123456789abcdef"
        settings = {
            "provider": "oidc", "http-address": f"127.0.0.1:{self.port}",
            "oidc-issuer-url": f"{authentik.facts['url']}application/o/{client['slug']}/",
            "client-id": client["client_id"], "client-secret": client["client_secret"],
            "cookie-secret": secret, "cookie-secure": "false", "email-domain": "*", "upstream": "static://202",
            "proxy-prefix": "/outpost.goauthentik.io", "redirect-url": callback, "set-xauthrequest": "true",
            "code-challenge-method": "S256", "insecure-oidc-allow-unverified-email": "true",
            "insecure-oidc-skip-nonce": "false", "reverse-proxy": "true", "trusted-proxy-ip": "127.0.0.1",
            "scope": "openid email profile", "request-logging": "true",
        }
        super().__init__([PATHS["oauth2-proxy"], *(f"--{name}={value}" for name, value in settings.items())],
                         cores)
        until(lambda: listens(self.port), self, "listener")


class Redis(Process):
    """A Redis that keeps nothing on disk."""

    def __init__(self):
        self.port = port()
        command = [PATHS["redis-server"], "--bind", "127.0.0.1", "--port", self.port, "--save", "", "--dir",
                   directory()]
        super().__init__(command, CLIENT)
        until(lambda: listens(self.port), self, "listener")


def check_headers(host, cookie):
    """An authorization request as ingress-nginx sends it."""
    return {
        "Host": host, **BROWSER, "Cookie": f"theme=dark; {cookie}".rstrip("; "),
        "X-Original-URL": f"http://{host}/", "X-Original-Method": "GET",
        "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http",
    }


def proxy_headers(host, cookie):
    """A request of a browser."""
    return {"Host": host, **BROWSER, "Accept-Encoding": "gzip, deflate, br", "Cookie": f"theme=dark; {cookie}"}


def added(server, host, cookie):
    """The headers that an outpost adds to a request for the application: names and values."""
    answer = get(server.port, "/added", proxy_headers(host, cookie))
    if not answer or answer[0] != 200:
        raise Failure(f"the application's answer: {answer}")
    headers = [tuple(line.split(": ", 1)) for line in answer[2].decode().splitlines()]
    if len(headers) < 10:
        raise Failure(f"too few headers: {headers}")
    return headers
