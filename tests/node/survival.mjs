/**
 * Three cells are running when the test kills the gateway. None of them, nor the connections, may notice for good.
 *
 * SCRATCH_DIR is a folder that kernel, test and scenario share: a file there says "go on".
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PromiseDelegate, connectManagers, emission, execute, hear, main, record, run, sockets, startKernel, streamText, tell } from './gateway.mjs';

const scratch = process.env.SCRATCH_DIR;

/** Counts until `<name>.stop` exists, writes the total to `<name>.total`. */
function countingCode(name) {
  return `
import pathlib, time
stop = pathlib.Path(${JSON.stringify(join(scratch, `${name}.stop`))})
total = 0
while not stop.exists():
    print(total, flush=True)
    total += 1
    time.sleep(0.02)
part = stop.with_suffix(".part")
part.write_text(str(total))
part.rename(stop.with_suffix(".total"))
total
`;
}

/** Resolves once the cell has printed `count` lines. */
function linesOf(counting, count) {
  const reached = new PromiseDelegate();
  const check = () => streamText(counting.outputs).split('\n').length > count && reached.resolve();
  counting.listeners.push(check);
  check();
  return reached.promise;
}

function count(kernel, name) {
  const listeners = [];
  return Object.assign(
    execute(kernel, countingCode(name), { onOutput: () => listeners.forEach(listener => listener()) }),
    { listeners }
  );
}

function ask(kernel) {
  const asking = execute(kernel, "print('hello', input('Name? '))", { allow_stdin: true });
  const asked = new PromiseDelegate();
  asking.future.onStdin = message => asked.resolve(message);
  return Object.assign(asking, { asked: asked.promise });
}

async function outcome(kernel, cell, statuses) {
  const reply = await cell.done;
  return {
    reply,
    stdout: streamText(cell.outputs),
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

  const cells = { throughout: count(throughout, 'throughout'), meanwhile: count(meanwhile, 'meanwhile'), asking: ask(asking) };
  await Promise.all([linesOf(cells.throughout, 20), linesOf(cells.meanwhile, 20), cells.asking.asked]);
  const reconnected = Promise.all(all.map(kernel => emission(kernel.connectionStatusChanged, status => status === 'connected')));
  await tell('running', { opened: sockets.length });
  await hear('gateway-restarted');
  await reconnected;

  const seen = streamText(cells.throughout.outputs).split('\n').length;
  await linesOf(cells.throughout, seen + 5);
  writeFileSync(join(scratch, 'throughout.stop'), '');
  const question = await cells.asking.asked;
  cells.asking.future.sendInputReply({ status: 'ok', value: 'world' }, question.header);

  await Promise.all([kernels.refreshRunning(), sessions.refreshRunning()]);
  return {
    throughout: await outcome(throughout, cells.throughout, statuses[0]),
    meanwhile: await outcome(meanwhile, cells.meanwhile, statuses[1]),
    asking: await outcome(asking, cells.asking, statuses[2]),
    idle: { next: await run(idle, "print('next')"), statuses: statuses[3] },
    connection,
    sockets,
    kernelIds: all.map(kernel => kernel.id),
    running: [...kernels.running()].map(model => model.id),
    session: [...sessions.running()].find(model => model.id === session.id) ?? null
  };
}

await main({ 'gateway-killed': gatewayKilled });
