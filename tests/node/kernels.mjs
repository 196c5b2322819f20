/** One kernel, everything a notebook does with it. */
import { PromiseDelegate, connectManagers, emission, execute, main, record, run, sockets, startKernel, streamText } from './gateway.mjs';

async function execution() {
  const { kernels } = await connectManagers();
  const kernel = await startKernel(kernels);
  const statuses = record(kernel.statusChanged);
  const ordered = await run(kernel, "import sys\nfor i in range(200): print(i, flush=True)\nprint('oops', file=sys.stderr)");
  const result = await run(kernel, '{"a": 1}');
  const display = await run(kernel, "from IPython.display import display, HTML\ndisplay(HTML('<b>bold</b>'))");
  const failing = await run(kernel, '1 / 0');
  const completion = await kernel.requestComplete({ code: 'impor', cursor_pos: 5 });
  const incomplete = await kernel.requestIsComplete({ code: 'for i in range(3):' });
  const silent = await run(kernel, 'hidden = 1', { silent: true, store_history: false });
  return {
    info: await kernel.info,
    protocols: sockets.map(socket => socket.protocol),
    stdout: ordered.stdout,
    stderr: streamText(ordered.outputs, 'stderr'),
    result,
    display: display.outputs,
    failing,
    completion: completion.content,
    incomplete: incomplete.content,
    silent,
    statuses
  };
}

async function interrupt() {
  const { kernels } = await connectManagers();
  const kernel = await startKernel(kernels);
  const started = new PromiseDelegate();
  const sleeping = execute(kernel, "import time\nprint('asleep', flush=True)\ntime.sleep(3600)", {
    onOutput: outputs => streamText(outputs).includes('asleep') && started.resolve()
  });
  await started.promise;
  await kernel.interrupt();
  const reply = await sleeping.done;
  return { reply, outputs: sleeping.outputs, after: await run(kernel, 'print(1 + 1)') };
}

async function restart() {
  const { kernels } = await connectManagers();
  const kernel = await startKernel(kernels);
  const statuses = record(kernel.statusChanged);
  const before = await run(kernel, 'import os; x = 1; print(os.getpid())');
  await kernel.restart();
  const after = await run(kernel, 'import os; print(os.getpid())');
  const forgotten = await run(kernel, 'x');
  await kernels.refreshRunning();
  return {
    kernelId: kernel.id,
    running: [...kernels.running()].map(model => model.id),
    pids: [before.stdout, after.stdout].map(Number),
    executionCount: after.reply.execution_count,
    forgotten: forgotten.reply,
    statuses
  };
}

/** The kernel process ends by itself; the server starts it again and the client learns of it. */
async function autorestart() {
  const { kernels } = await connectManagers();
  const kernel = await startKernel(kernels);
  const restarting = emission(kernel.statusChanged, status => status === 'autorestarting');
  kernel.requestExecute({ code: 'import os; os._exit(7)' }).done.catch(() => 'it never gets a reply');
  await restarting;
  const after = await run(kernel, 'print("alive")');
  return { after };
}

async function stdin() {
  const { kernels } = await connectManagers();
  const kernel = await startKernel(kernels);
  const code = "import getpass\nprint(input('Name? '), getpass.getpass('Word? '))";
  const asking = execute(kernel, code, { allow_stdin: true });
  const prompts = [];
  asking.future.onStdin = message => {
    prompts.push(message.content);
    asking.future.sendInputReply({ status: 'ok', value: `answer ${prompts.length}` }, message.header);
  };
  const reply = await asking.done;
  return { reply, prompts, stdout: streamText(asking.outputs) };
}

const ECHO_TARGET = `
from comm import create_comm, get_comm_manager
def opened(comm, message):
    def echo(message):
        buffers = [bytes(reversed(b)) for b in message["buffers"]]
        comm.send({"sizes": [len(b) for b in buffers]}, buffers=buffers)
    comm.on_msg(echo)
get_comm_manager().register_target("echo", opened)
`;

const OPENED_BY_KERNEL = `
comm = create_comm(target_name="from-kernel", data={"hello": "client"}, buffers=[bytes(range(256))])
`;

function bytesOf(buffer) {
  return Buffer.from(buffer instanceof ArrayBuffer ? new Uint8Array(buffer) : buffer.buffer);
}

async function comms() {
  const { kernels } = await connectManagers();
  const kernel = await startKernel(kernels);
  await run(kernel, ECHO_TARGET);

  const comm = kernel.createComm('echo');
  await comm.open({}).done;
  const echoed = new PromiseDelegate();
  comm.onMsg = message => echoed.resolve(message);
  const large = Buffer.alloc(1 << 20, 'abc');
  comm.send({ greeting: 'hello' }, undefined, [Uint8Array.from([1, 2, 3]).buffer, new Uint8Array(large).buffer]);
  const echo = await echoed.promise;
  const [small, big] = echo.buffers.map(bytesOf);

  const openedByKernel = new PromiseDelegate();
  kernel.registerCommTarget('from-kernel', (_comm, message) => openedByKernel.resolve(message));
  await run(kernel, OPENED_BY_KERNEL);
  const opened = await openedByKernel.promise;
  return {
    echo: { data: echo.content.data, small: [...small], bigIsReversed: big.equals(Buffer.from(large).reverse()) },
    opened: { data: opened.content.data, bytes: [...bytesOf(opened.buffers[0])] }
  };
}

/** Two notebooks on one kernel: outputs go to both, replies to the one that asked. */
async function twoConnections() {
  const { kernels } = await connectManagers();
  const one = await startKernel(kernels);
  const two = kernels.connectTo({ model: one.model });
  await two.info;
  const seen = [record(one.anyMessage), record(two.anyMessage)];
  const runs = await Promise.all([run(one, "print('from one')"), run(two, "print('from two')")]);
  const last = await run(two, 'pass'); // whatever came before it has arrived at two
  await run(one, 'pass');
  const received = seen.map(messages => messages.filter(({ direction }) => direction === 'recv').map(({ msg }) => msg));
  const connections = () => [...kernels.running()].find(model => model.id === one.id).connections;
  do {
    await kernels.refreshRunning(); // a list may be a second old
  } while (connections() !== 2);
  return {
    clients: [one.clientId, two.clientId],
    stdout: runs.map(({ stdout }) => stdout),
    lastReply: last.reply,
    streams: received.map(messages =>
      messages.filter(({ header }) => header.msg_type === 'stream').map(({ content }) => content.text).sort()
    ),
    repliesAskedBy: received.map(messages => [
      ...new Set(messages.filter(({ channel }) => channel === 'shell').map(message => message.parent_header.session))
    ]),
    connections: connections()
  };
}

await main({ execution, interrupt, restart, autorestart, stdin, comms, 'two-connections': twoConnections });
