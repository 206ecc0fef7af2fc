// node:http or node:https, bare: node node.js PORT [CERTIFICATE KEY]
"use strict";
const fs = require("node:fs");

const [port, certificate, key] = process.argv.slice(2);
const hello = Buffer.from("Hello, World!");
const big = Buffer.alloc(4 * 1024 * 1024, "x");

function answer(response, body) {
  response.writeHead(200, { "Content-Type": "text/plain", "Content-Length": body.length });
  response.end(body);
}

function handle(request, response) {
  if (request.url === "/post") {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => answer(response, Buffer.from(String(Buffer.concat(pieces).length))));
  } else {
    answer(response, request.url === "/big" ? big : hello);
  }
}

const server = certificate
  ? require("node:https").createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) }, handle)
  : require("node:http").createServer(handle);
server.keepAliveTimeout = 600_000;
server.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 });
