/**
 * Three cells are running when the test kills the gateway. None of them, nor the connections, may notice for good.
 *
 * SCRATCH_DIR is a folder that kernel, test and scenario share: a file there says "go on".
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  KernelMessage,
  PromiseDelegate,
  connectManagers,
  emission,
  execute,
  hear,
  main,
  record,
  run,
  sockets,
  startKernel,
  streamText,
  tell
} from './gateway.mjs';

const scratch = process.env.SCRATCH_DIR;

/**
 * Prints numbers until `<name>.stop` exists, then writes how many to `<name>.total`.
 * Pauses after `pauseAt` of them until `<name>.go` exists.
 */
function countingCode(name, pauseAt) {
  return `
import pathlib, time
base = pathlib.Path(${JSON.stringify(join(scratch, name))})
total = 0
while not base.with_suffix(".stop").exists() or total <= ${pauseAt}:
    while total == ${pauseAt} and not base.with_suffix(".go").exists():
        time.sleep(0.01)
    print(total, flush=True)
    total += 1
    time.sleep(0.02)
part = base.with_suffix(".part")
part.write_text(str(total))
part.rename(base.with_suffix(".total"))
total
`;
}

function count(kernel, name, pauseAt) {
  const listeners = new Set();
  const cell = execute(kernel, countingCode(name, pauseAt), { onOutput: () => listeners.forEach(listener => listener()) });
  return Object.assign(cell, { listeners });
}

/** Resolves once the cell has printed `lines` lines. */
function linesOf(counting, lines) {
  const reached = new PromiseDelegate();
  const check = () => streamText(counting.outputs).split('\n').length > lines && reached.resolve();
  counting.listeners.add(check);
  check();
  return reached.promise;
}

function ask(kernel) {
  const asking = execute(kernel, "print('hello', input('Name? '))", { allow_stdin: true });
  const asked = new PromiseDelegate();
  const prompts = [];
  asking.future.onStdin = message => {
    prompts.push(message);
    asked.resolve();
  };
  return Object.assign(asking, { asked: asked.promise, prompts });
}

/**
 * Resolves when everything the client has received before is acknowledged: acknowledgements and this request
 * travel on one connection, in order, and a busy kernel still answers on the control channel.
 */
async function acknowledged(kernel) {
  const request = KernelMessage.createMessage({
    msgType: 'kernel_info_request',
    channel: 'control',
    username: kernel.username,
    session: kernel.clientId,
    content: {}
  });
  const reply = new PromiseDelegate();
  const future = kernel.sendControlMessage(request, true);
  future.onReply = () => reply.resolve();
  await reply.promise;
}

/** Without what has come a second time. */
function onceEach(outputs) {
  const seen = new Set();
  return outputs.filter(({ id }) => !seen.has(id) && seen.add(id));
}

async function outcome(kernel, cell, statuses) {
  const reply = await cell.done;
  return {
    reply,
    stdout: streamText(cell.outputs),
    stdoutOnce: streamText(onceEach(cell.outputs)),
    stderr: streamText(cell.outputs, 'stderr'),
    result: cell.outputs.find(({ type }) => type === 'execute_result')?.content.data['text/plain'] ?? null,
    statuses,
    next: await run(kernel, "print('next')")
  };
}

async function gatewayKilled() {
  const { kernels, sessions } = await connectManagers();
  const names = ['throughout', 'meanwhile', 'asking', 'idle'];
  const all = await Promise.all(names.map(() => startKernel(kernels)));
  const [throughout, meanwhile, asking, idle] = all;
  const session = await sessions.startNew({ path: 'kept.ipynb', type: 'notebook', name: 'kept', kernel: { id: idle.id } });
  const connection = all.map(kernel => record(kernel.connectionStatusChanged));
  const statuses = all.map(kernel => record(kernel.statusChanged));

  const cells = {
    throughout: count(throughout, 'throughout', -1),
    meanwhile: count(meanwhile, 'meanwhile', 20),
    asking: ask(asking)
  };
  await Promise.all([linesOf(cells.throughout, 20), linesOf(cells.meanwhile, 20), cells.asking.asked]);
  await Promise.all([acknowledged(meanwhile), acknowledged(asking)]);
  const reconnected = Promise.all(all.map(kernel => emission(kernel.connectionStatusChanged, status => status === 'connected')));
  await tell('running');
  await hear('gateway-restarted');
  await reconnected;

  const seen = streamText(cells.throughout.outputs).split('\n').length;
  await linesOf(cells.throughout, seen + 5);
  writeFileSync(join(scratch, 'throughout.stop'), '');
  cells.asking.future.sendInputReply({ status: 'ok', value: 'world' }, cells.asking.prompts[0].header);

  await Promise.all([kernels.refreshRunning(), sessions.refreshRunning()]);
  return {
    throughout: await outcome(throughout, cells.throughout, statuses[0]),
    meanwhile: await outcome(meanwhile, cells.meanwhile, statuses[1]),
    asking: { ...(await outcome(asking, cells.asking, statuses[2])), prompts: cells.asking.prompts.length },
    idle: { next: await run(idle, "print('next')"), statuses: statuses[3] },
    connection,
    sockets,
    kernelIds: all.map(kernel => kernel.id),
    running: [...kernels.running()].map(model => model.id),
    session: [...sessions.running()].find(model => model.id === session.id) ?? null
  };
}

await main({ 'gateway-killed': gatewayKilled });
