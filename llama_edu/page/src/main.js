/** What the bundle offers a page, and the labs it starts there. */
export * from "./engine.js";
export { RemoteModel } from "./client.js";
export { switchedOff } from "./switches.js";
export { serve } from "./worker.js";
