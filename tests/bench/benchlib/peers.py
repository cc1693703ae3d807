"""What is measured. Each peer listens at .address, sends mail for slow.example to the slow sink and all other to the sink,
and has stored a message durably when it answers 250 (but for `none`)."""
import os
import shutil
import subprocess
import time

from . import BENCH, HERE, MNT, RUN, SINK, SINK_PORT
from .system import sh


class Peer:
    name = ""
    address = ("127.0.0.1", 2500)
    scale = 1.0  # of the number of messages: a slow peer needs fewer for the same precision

    def __init__(self, cgroup, options):
        self.cgroup, self.options = cgroup, options
        self.directory = f"{MNT}/{self.name}"

    def wipe(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)

    def start(self):
        raise NotImplementedError

    def stop(self):
        pass

    def flush(self):
        pass

    def queued_files(self):
        return None


class Postfix(Peer):
    scale = 0.6

    def wipe(self):
        base, self.config = f"{MNT}/postfix", f"{RUN}/{self.name}"
        self.spool = f"{base}/spool"
        for d in (base, self.config):
            shutil.rmtree(d, ignore_errors=True)
        for d in (self.spool, f"{base}/data"):
            os.makedirs(d)
        shutil.copytree(f"{HERE}/conf/{self.name}", self.config)
        sh(f"cp -r /etc/postfix/postfix-files /etc/postfix/dynamicmaps.cf* {self.config}/; "
           f"sed -i s,@BENCH@,{BENCH}, {self.config}/main.cf; chown postfix {base}/data; chmod 755 {base} {self.spool}")

    def start(self):
        self.start_syslog()
        self.cgroup.run(f"MAIL_CONFIG={self.config} postfix -c {self.config} start >{RUN}/{self.name}.start 2>&1")

    def start_syslog(self):
        """Its log is part of its work, as it is in use."""
        sh(f"rm -f {MNT}/maillog {MNT}/otherlog /dev/log; sed s,@BENCH@,{BENCH}, {HERE}/conf/rsyslog.conf > {RUN}/rsyslog.conf")
        self.cgroup.start(f"rsyslogd -n -f {RUN}/rsyslog.conf -i {RUN}/rsyslog.pid", stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)
        for _ in range(100):
            if os.path.exists("/dev/log"):
                return
            time.sleep(0.05)

    def stop(self):
        sh(f"postfix -c {self.config} stop >/dev/null 2>&1")

    def flush(self):
        self.cgroup.run(f"postqueue -c {self.config} -f")

    def queued_files(self):
        return sum(len(f) for d in ("incoming", "active", "deferred", "maildrop") for _, _, f in os.walk(f"{self.spool}/{d}"))


class PostfixDefault(Postfix):
    name = "postfix-default"


class PostfixTuned(Postfix):
    name = "postfix-tuned"


class Postrider(Peer):
    name = "postrider"

    def command(self, *words):
        return " ".join([self.options.postrider, *words, "-c", self.options.config])

    def start(self):
        with open(f"{RUN}/postrider.log", "ab") as out:
            self.process = self.cgroup.start(self.command("run"), stdout=out, stderr=subprocess.STDOUT)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            pass  # the control group is killed anyway

    def flush(self):
        self.cgroup.run(self.command("queue", "flush") + f" >>{RUN}/postrider.log 2>&1")


class NoMta(Peer):
    """Clients straight to the sink: what the tools can do."""
    name = "none"
    address = (SINK, SINK_PORT)

    def start(self):
        self.cgroup.start("sleep 100000")


PEERS = {c.name: c for c in (PostfixDefault, PostfixTuned, Postrider, NoMta)}
