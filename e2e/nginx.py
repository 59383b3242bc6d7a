"""A real nginx in front of a script, with the lines for sockets that its manual names."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from .processes import Child, listens, spawn
from .scripts import free_port
from .timeouts import wait_until

LOCAL = Path(sys.prefix) / "nginx" / "usr" / "sbin" / "nginx"  # See `make nginx`

# `proxy_read_timeout` is 60 s by default: here a laptop that sleeps for 14 s is long enough for it.
CONFIG = """
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{target};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout 12s;
        }}
    }}
}}
"""


def nginx_command() -> str | None:
    """Where nginx is, if it is."""
    return str(LOCAL) if LOCAL.exists() else shutil.which("nginx")


class Nginx:
    """A running nginx; it listens on `port`."""

    def __init__(self, target: int, home: Path) -> None:
        """Start it in an empty folder, in front of a port of this machine, and wait until it listens."""
        self.port = free_port()
        config = home / "nginx.conf"
        config.write_text(CONFIG.format(home=home, port=self.port, target=target))
        self.child: Child = spawn([str(nginx_command()), "-c", str(config), "-p", str(home)], home, home, {})
        wait_until(self._listens, "nginx")

    def _listens(self) -> bool:
        if self.child.process.poll() is not None:
            raise RuntimeError(f"nginx ended at once:\n{self.log()}")
        return listens(self.port)

    def log(self) -> str:
        """What it said."""
        return self.child.stderr.read_text(errors="replace")

    def stop(self) -> list[str]:
        """End it, and return what was left."""
        self.child.stop()
        return [f"left behind by nginx: {command}" for command in self.child.stragglers()]
