// A component on node. On SIGTERM it accepts no more, and ends with its last connection.
"use strict";
const http = require("http");
const net = require("net");

const name = process.env.COMPONENT;
const calls = (process.env.CALLS || "").split(" ").filter(Boolean);
let stopping = false;

function ask(other) {
    return new Promise((resolve, reject) => {
        const options = { socketPath: `${process.env.SOCKETS}/${other}.sock`, path: "/", agent: false, timeout: 30000 };
        http.get(options, (answer) => {
            let text = "";
            answer.on("data", (data) => { text += data; });
            answer.on("end", () => {
                if (answer.statusCode === 200) resolve(JSON.parse(text));
                else reject(new Error(`${other} answered ${answer.statusCode}`));
            });
        }).on("error", reject);
    });
}

async function answer(request, response) {
    let status = 200, body = "ok\n";
    if (request.url !== "/health") {
        try {
            const about = { component: name, generation: process.env.FDPASS_GENERATION || "-", calls: {} };
            for (const other of calls) about.calls[other] = await ask(other);
            body = JSON.stringify(about) + "\n";
        } catch (error) {
            status = 502;
            body = `${name}: ${error}\n`;
        }
    }
    if (stopping) response.setHeader("Connection", "close");
    response.writeHead(status, { "Content-Length": Buffer.byteLength(body) });
    response.end(body);
}

const server = http.createServer(answer);
server.listen({ fd: 3 });

process.on("SIGTERM", () => {
    stopping = true;
    // Not server.close(), which also closes what was accepted and has not asked yet.
    net.Server.prototype.close.call(server, () => process.exit(0));
    setTimeout(() => server.closeIdleConnections(), 1000).unref();
});
