/**
 * The files of a picked model, kept by the browser where it allows: they are its own copies, on
 * the reader's disk. Where it refuses, the reader picks again.
 */

const DATABASE = "llama_edu";
const STORE = "model";
const KEY = "files";

/**
 * Do one thing with the store.
 * @template T
 * @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest<T>} act
 * @returns {Promise<T>}
 */
function inStore(mode, act) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const transaction = opening.result.transaction(STORE, mode);
      const request = act(transaction.objectStore(STORE));
      transaction.oncomplete = () => {
        opening.result.close();
        resolve(request.result);
      };
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    };
  });
}

/** Keep these files in place of those before; whether that worked. @param {File[]} files */
export async function rememberFiles(files) {
  try {
    await inStore("readwrite", (store) => store.put(files, KEY));
    return files.length > 0;
  } catch {
    return false;
  }
}

/** The files kept, or none. @returns {Promise<File[]>} */
export async function recalledFiles() {
  try {
    return (await inStore("readonly", (store) => store.get(KEY))) ?? [];
  } catch {
    return [];
  }
}
