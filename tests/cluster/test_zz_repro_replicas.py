import pytest
from support.channels import Channels
from support.node import Control
from support.replica import Replica
from support.rest import answer_of
from support.wait import eventually

pytestmark = pytest.mark.cluster


def test_x(deployed):
    bad = 0
    for i in range(8):
        reps = Replica.all(deployed)
        k = eventually(
            lambda: (
                (a := deployed.rest.post("/api/kernels", json={"name": "python_kubernetes"})).status_code == 201
                and a.json()["id"]
            )
        )
        old = Channels.of(deployed, k, session_id="old")
        Control("x").stop("apiserver")
        old.execute("print('old')")
        for r in reps:
            r.rest.kernel_ids()
            c = Channels.of(r, k)
            c.socket.settimeout(6)
            m = c.send_code("print('x')")
            seen = []
            try:
                while not (
                    any(s[0] == "execute_reply" and s[2] for s in seen) and any(s[1] == "idle" and s[2] for s in seen)
                ):
                    msg = c.recv()
                    seen.append(
                        (
                            msg["msg_type"],
                            msg["content"].get("execution_state"),
                            msg["parent_header"].get("msg_id") == m,
                            msg["parent_header"].get("session", "")[:6],
                            msg["parent_header"].get("msg_type"),
                        )
                    )
                c.close()
            except Exception as e:
                bad += 1
                print(i, r.name, "FAILED", repr(e), seen, answer_of(r.rest.get(f"/api/kernels/{k}")))
                for name in deployed.namespace.names("pods"):
                    if k in name:
                        print(deployed.namespace.kubectl("logs", name, "-c", "kernel", "--tail=5"))
                try:
                    print("old again:", old.execute("print('again')").text, flush=True)
                except Exception as e2:
                    print("old fails too", repr(e2))
                try:
                    c.send_code("print('y')")
                    print(
                        "same ws:",
                        [(msg["msg_type"]) for msg in c.recv_until(lambda m: m["msg_type"] == "execute_reply")],
                    )
                except Exception as e2:
                    print("same ws fails", repr(e2))
        Control("x").up()
        old.drop()
        eventually(lambda: deployed.rest.delete(f"/api/kernels/{k}").status_code in (204, 404))
    assert not bad
