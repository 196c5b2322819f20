/**
 * The gateway as JupyterLab's own client library sees it, and the wire between a scenario and the test that runs it.
 *
 * The test passes GATEWAY_URL (ends with a slash) and GATEWAY_TOKEN. Standard output carries one JSON object a line,
 * `{"event": NAME}` or at last `{"report": {...}}`; everything the library logs goes to standard error.
 * Standard input carries one word a line, what the test has done meanwhile (`gateway-restarted`).
 */
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(import.meta.url);
const { KernelManager, KernelSpecManager, ServerConnection, SessionManager } = require('@jupyterlab/services');

export const { KernelAPI, KernelMessage, SessionAPI } = require('@jupyterlab/services');
const NodeWebSocket = require('ws');

/** A promise with its `resolve` outside. */
export const { PromiseDelegate } = require('@lumino/coreutils');

globalThis.console = new console.Console(process.stderr, process.stderr);

/** What happened to every websocket of this process: the subprotocol agreed on, then the code of its close. */
export const sockets = [];

class RecordedWebSocket extends NodeWebSocket {
  constructor(url, protocols) {
    super(url, protocols);
    const record = { protocol: null, closed: null };
    sockets.push(record);
    this.on('open', () => (record.protocol = this.protocol));
    this.on('close', code => (record.closed = code));
  }
}

export const serverSettings = ServerConnection.makeSettings({
  baseUrl: process.env.GATEWAY_URL,
  token: process.env.GATEWAY_TOKEN,
  appendToken: true,
  WebSocket: RecordedWebSocket
});

/** Kernel, session and kernel specification managers of one client, as JupyterLab makes them. */
export async function connectManagers() {
  const kernels = new KernelManager({ serverSettings });
  const sessions = new SessionManager({ serverSettings, kernelManager: kernels });
  const specs = new KernelSpecManager({ serverSettings });
  await Promise.all([kernels.ready, sessions.ready, specs.ready]);
  return { kernels, sessions, specs };
}

const started = [];

/** Start a kernel of the default specification and wait until it has answered once. */
export async function startKernel(kernels) {
  const kernel = await kernels.startNew();
  started.push(kernel);
  await kernel.info;
  return kernel;
}

/** The text of all `stream` outputs of a finished or running execution, by stream name. */
export function streamText(outputs, name = 'stdout') {
  return outputs
    .filter(output => output.type === 'stream' && output.content.name === name)
    .map(output => output.content.text)
    .join('');
}

/**
 * Start executing code. `outputs` grows as messages come; `done` resolves to the execute_reply's content.
 * `onOutput` is called after each addition.
 */
export function execute(kernel, code, { onOutput, ...content } = {}) {
  const outputs = [];
  const future = kernel.requestExecute({ code, ...content });
  future.onIOPub = message => {
    const type = message.header.msg_type;
    if (type !== 'status' && type !== 'execute_input') {
      outputs.push({ id: message.header.msg_id, type, content: message.content });
      onOutput?.(outputs);
    }
  };
  return { future, outputs, done: future.done.then(reply => reply.content) };
}

/** Execute code to its end: `{reply, outputs, stdout}`. */
export async function run(kernel, code, content) {
  const { outputs, done } = execute(kernel, code, content);
  const reply = await done;
  return { reply, outputs, stdout: streamText(outputs) };
}

/** Resolve with the first emission of a signal that `accept` likes. */
export function emission(signal, accept) {
  const delegate = new PromiseDelegate();
  const slot = (_sender, value) => {
    if (accept(value)) {
      signal.disconnect(slot);
      delegate.resolve(value);
    }
  };
  signal.connect(slot);
  return delegate.promise;
}

/** Collect the values of a signal from now on. */
export function record(signal) {
  const values = [];
  signal.connect((_sender, value) => values.push(value));
  return values;
}

/** The HTTP status a request of the library failed with; throws when it did not fail by a response. */
export async function failureStatus(promise) {
  try {
    await promise;
  } catch (error) {
    if (error.response === undefined) {
      throw error;
    }
    return error.response.status;
  }
  throw new Error('the request was expected to fail');
}

function write(line) {
  return new Promise(resolve => process.stdout.write(`${JSON.stringify(line)}\n`, resolve));
}

/** Tell the test what has come to pass. */
export function tell(event) {
  return write({ event });
}

const heard = new Map();

function hearing(word) {
  if (!heard.has(word)) {
    heard.set(word, new PromiseDelegate());
  }
  return heard.get(word);
}

/** Wait until the test has sent this word. */
export function hear(word) {
  return hearing(word).promise;
}

/** Run the scenario named on the command line, report, and leave. */
export async function main(scenarios) {
  const name = process.argv[2];
  if (!Object.hasOwn(scenarios, name)) {
    throw new Error(`no scenario '${name}', there are: ${Object.keys(scenarios).join(', ')}`);
  }
  createInterface({ input: process.stdin }).on('line', word => hearing(word.trim()).resolve());
  const report = structuredClone(await scenarios[name]()); // the records in it would go on growing
  await Promise.all(started.filter(kernel => !kernel.isDisposed).map(kernel => kernel.shutdown()));
  await write({ report });
  process.exit(0); // the managers' polls would keep the process alive
}
