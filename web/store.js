/* store.js - conversations in this browser's IndexedDB, one record each. Without IndexedDB (some
 * private windows) they live until the page is left, and `isLasting` says so. */

const STORE = "conversations";
let database = null;

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function openDatabase() {
  try {
    const request = indexedDB.open("mistral.c", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    database = await settled(request);
    database.onversionchange = () => database.close();
  } catch {
    database = null;
  }
}

const opening = openDatabase(); // what is asked meanwhile waits

/* A change is committed at once: a page that goes away waits for nobody. */
async function inStore(mode, work) {
  await opening;
  if (database === null) {
    return null;
  }
  const transaction = database.transaction(STORE, mode);
  const request = work(transaction.objectStore(STORE));
  transaction.commit();
  return settled(request);
}

export async function isLasting() {
  await opening;
  return database !== null;
}

export async function readAll() {
  return (await inStore("readonly", (store) => store.getAll())) ?? [];
}

/* What changed is told to the same page in other tabs. */
const others = new BroadcastChannel("mistral.c conversations");

export async function write(record) {
  await inStore("readwrite", (store) => store.put(record));
  others.postMessage({ id: record.id });
}

export async function remove(id) {
  await inStore("readwrite", (store) => store.delete(id));
  others.postMessage({ id });
}

export async function clear() {
  await inStore("readwrite", (store) => store.clear());
  others.postMessage({ id: null });
}

/* `changed` gets the id of a record that another tab wrote or removed, and the record (undefined:
 * removed); or null for all of them. */
export function watch(changed) {
  others.onmessage = async (event) => {
    const { id } = event.data;
    changed(id, id === null ? undefined : await inStore("readonly", (store) => store.get(id)));
  };
}
