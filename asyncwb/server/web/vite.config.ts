// Builds the page into dist/: one HTML file and hashed assets. Their addresses are relative there,
// and the server puts the path before them under which it is served.
// The content policy goes into the built HTML (the dev server needs inline styles, the page none).
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, loadEnv, type Plugin } from "vite";

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
].join("; ");

function contentPolicy(): Plugin {
  return {
    name: "content-policy",
    apply: "build",
    transformIndexHtml: () => [
      {
        tag: "meta",
        attrs: { "http-equiv": "Content-Security-Policy", content: POLICY },
        injectTo: "head-prepend",
      },
    ],
  };
}

/** `npm run dev` shows a running server's data; its address is ASYNCWB_BASE_URL. */
export default defineConfig(({ mode }) => {
  const api = loadEnv(mode, ".", "ASYNCWB_")["ASYNCWB_BASE_URL"] ?? "http://127.0.0.1:8080";
  return {
    base: "./",
    plugins: [svelte(), contentPolicy()],
    build: { assetsInlineLimit: 0, target: "es2022", modulePreload: { polyfill: false } },
    server: { proxy: { "/api": api, "/graphql": api, "/files": api } },
  };
});
