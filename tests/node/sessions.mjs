/** Managers: kernel specifications, lists that are polled, and the life of a session. */
import {
  KernelAPI,
  SessionAPI,
  connectManagers,
  emission,
  failureStatus,
  main,
  record,
  run,
  serverSettings,
  startKernel
} from './gateway.mjs';

async function kernelspecs() {
  const { specs } = await connectManagers();
  const { default: name, kernelspecs: models } = specs.specs;
  return { default: name, spec: models[name], names: Object.keys(models) };
}

/** A second client, which only polls, learns by itself of a kernel and a session that the first one starts. */
async function polling() {
  const client = await connectManagers();
  const watcher = await connectManagers();
  const failures = [record(watcher.kernels.connectionFailure), record(watcher.sessions.connectionFailure)];
  const session = await client.sessions.startNew({ path: 'polled.ipynb', type: 'notebook', name: 'polled', kernel: {} });
  const kernelId = session.kernel.id;
  const [kernelModels, sessionModels] = await Promise.all([
    emission(watcher.kernels.runningChanged, models => models.some(model => model.id === kernelId)),
    emission(watcher.sessions.runningChanged, models => models.some(model => model.id === session.id))
  ]);
  await client.sessions.shutdown(session.id);
  await Promise.all([watcher.kernels.refreshRunning(), watcher.sessions.refreshRunning()]);
  return {
    kernelId,
    sessionId: session.id,
    kernel: kernelModels.find(model => model.id === kernelId),
    session: sessionModels.find(model => model.id === session.id),
    afterShutdown: [...watcher.kernels.running(), ...watcher.sessions.running()].map(model => model.id),
    failures: failures.flat().map(String)
  };
}

async function sessionLife() {
  const { sessions, kernels } = await connectManagers();
  const options = { path: 'first.ipynb', type: 'notebook', name: 'first', kernel: {} };
  const session = await sessions.startNew(options);
  const created = session.model;
  await session.kernel.info;
  const answer = (await run(session.kernel, 'print(6 * 7)')).stdout;

  const again = await SessionAPI.startSession(options, serverSettings);

  const changes = record(session.propertyChanged);
  await session.setPath('second.ipynb');
  await session.setName('second');
  await session.setType('console');
  const renamed = await SessionAPI.getSessionModel(session.id, serverSettings);

  const oldKernelId = session.kernel.id;
  const newKernel = await session.changeKernel({ name: session.kernel.name });
  await newKernel.info;
  const answerAfterChange = (await run(newKernel, 'print(6 * 9)')).stdout;
  await kernels.refreshRunning();
  const kernelsAfterChange = [...kernels.running()].map(model => model.id);

  const other = await startKernel(kernels);
  await session.changeKernel({ id: other.id });
  const adopted = await SessionAPI.getSessionModel(session.id, serverSettings);

  await session.shutdown();
  const left = await SessionAPI.listRunning(serverSettings);
  return {
    created,
    answer,
    again,
    renamed,
    changes,
    kernelChange: { oldKernelId, newKernelId: newKernel.id, kernelsAfterChange, answerAfterChange },
    adoption: { otherKernelId: other.id, adopted },
    left: left.map(model => model.id),
    statusOfGetAfterDelete: await failureStatus(SessionAPI.getSessionModel(session.id, serverSettings)),
    kernelAfterDelete: (await KernelAPI.getKernelModel(other.id, serverSettings)) ?? null,
    secondDelete: await SessionAPI.shutdownSession(session.id, serverSettings).then(() => 'accepted', String)
  };
}

await main({ kernelspecs, polling, 'session-life': sessionLife });
