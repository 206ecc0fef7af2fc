// node:http, bare: node node_app.js PORT
"use strict";
const http = require("node:http");

const hello = Buffer.from("Hello, World!");
const large = Buffer.alloc(16 * 1024 * 1024, "0123456789abcdef");

function answer(response, body, status = 200) {
  response.writeHead(status, { "Content-Type": "text/plain", "Content-Length": body.length });
  response.end(body);
}

function events(request, response) {
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  response.write("data: tick\n\n");
  const ticks = setInterval(() => response.write("data: tick\n\n"), 1000);
  response.on("close", () => clearInterval(ticks));
}

function upload(request, response) {
  let size = 0;
  request.on("data", (piece) => { size += piece.length; });
  request.on("end", () => answer(response, Buffer.from(String(size))));
}

const pages = {
  "/": (request, response) => answer(response, hello),
  "/large": (request, response) => answer(response, large),
  "/upload": upload,
  "/events": events,
  "/later": () => {},
};

http.createServer((request, response) => {
  const page = pages[request.url.split("?")[0]];
  if (page) page(request, response);
  else answer(response, Buffer.from("not found"), 404);
}).listen(Number(process.argv[2]), "127.0.0.1");
