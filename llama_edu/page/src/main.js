/** What the bundle offers a page. */
export * from "./engine.js";
