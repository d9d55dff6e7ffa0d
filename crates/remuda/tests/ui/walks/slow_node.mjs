// An Ollama server that has nothing and pulls slowly, up to a last piece that comes once the walk has seen what it looks for.

import { createServer } from "node:http";

const PIECES = 40;
const PIECE_MS = 120;
const TOTAL = 4_000_000_000;

/** Starts it and returns its address, `finish(model)`, without which a pull of that model does not end, and how to stop it. */
export async function slowNode() {
  const models = [];
  const mayEnd = new Set();
  const server = createServer(async (request, response) => {
    const answer = (value) => { response.setHeader("content-type", "application/json"); response.end(JSON.stringify(value)); };
    const path = new URL(request.url, "http://node").pathname;
    if (path === "/api/version") return answer({ version: "0.33.0" });
    if (path === "/api/tags") return answer({ models });
    if (path === "/api/ps") return answer({ models: [] });
    if (path === "/api/show") return answer({ capabilities: ["completion"], model_info: {}, details: {} });
    if (path === "/") return response.end("Ollama is running");
    if (path !== "/api/pull") { response.statusCode = 404; return response.end("404 page not found"); }
    let text = "";
    for await (const chunk of request) text += chunk;
    const { model } = JSON.parse(text);
    response.setHeader("content-type", "application/x-ndjson");
    for (let piece = 1; piece < PIECES || !(mayEnd.has(model) || response.destroyed); piece += 1) {
      const completed = (TOTAL / PIECES) * Math.min(piece, PIECES - 1);
      response.write(`${JSON.stringify({ status: "pulling 1234", digest: "sha256:1234", total: TOTAL, completed })}\n`);
      await new Promise((resolve) => setTimeout(resolve, PIECE_MS));
    }
    models.push({ name: model, model, size: TOTAL, digest: "a".repeat(64), details: { family: "llama" }, modified_at: "2026-01-01T00:00:00Z" });
    response.end('{"status":"success"}\n');
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, finish: (model) => mayEnd.add(model), stop: () => { server.closeAllConnections(); server.close(); } };
}
