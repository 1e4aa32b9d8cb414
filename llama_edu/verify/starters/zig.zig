// An engine to be written: the protocol is here, the stages are yours (Zig 0.14, std only).
//
//     zig build-exe engine.zig -O ReleaseFast
//     llama-edu verify --program ./engine
//
// Name an op in `ops` once it is written; until then the kit does not ask for it. The stages are
// the book's chapters: bytes (op `tensor`), forward, cache, tokens (`encode`, `decode`), sampling
// (`probabilities`).

const std = @import("std");

const ops = [_][]const u8{}; // of "tensor", "forward", "encode", "decode", "probabilities"

const Request = struct {
    op: []const u8,
    name: []const u8 = "",
    ids: []const usize = &.{},
    past: usize = 0,
    text: []const u8 = "",
    logits: []const f32 = &.{},
    temperature: f32 = 1,
    top_k: usize = 0,
    top_p: f32 = 1,
};

const Tensor = struct { shape: []const usize, values: []const f32 };

const Engine = struct {
    directory: []const u8,

    // Read the model. An error ends the program, and its name is what the report shows.
    fn load(directory: []const u8) !Engine {
        var folder = try std.fs.cwd().openDir(directory, .{});
        defer folder.close();
        try folder.access("config.json", .{});
        return .{ .directory = directory };
    }

    // Chapter 1: the shape of a tensor, and its numbers as float32, row after row.
    fn tensor(_: *Engine, _: std.mem.Allocator, _: []const u8) !Tensor {
        return error.NotWrittenYet;
    }

    // Chapters 3 to 10: keep the first `past` cached positions, feed the ids, and give the logits
    // after the last one. The allocator's memory goes when the answer is written.
    fn forward(_: *Engine, _: std.mem.Allocator, _: []const usize, _: usize) ![]const f32 {
        return error.NotWrittenYet;
    }

    // Chapter 2: text to ids.
    fn encode(_: *Engine, _: std.mem.Allocator, _: []const u8) ![]const usize {
        return error.NotWrittenYet;
    }

    // Chapter 2: ids to text; bytes that are no UTF-8 become U+FFFD.
    fn decode(_: *Engine, _: std.mem.Allocator, _: []const usize) ![]const u8 {
        return error.NotWrittenYet;
    }

    // Chapter 11: temperature (0 is greedy), then top-k (0 is all), then top-p (1 is all).
    fn probabilities(_: *Engine, _: std.mem.Allocator, _: Request) ![]const f32 {
        return error.NotWrittenYet;
    }

    fn answer(engine: *Engine, arena: std.mem.Allocator, line: []const u8) ![]u8 {
        const r = try std.json.parseFromSliceLeaky(Request, arena, line, .{
            .ignore_unknown_fields = true,
        });
        if (std.mem.eql(u8, r.op, "hello"))
            return json(arena, .{ .name = "my engine", .protocol = 1, .ops = &ops });
        if (std.mem.eql(u8, r.op, "tensor"))
            return json(arena, try engine.tensor(arena, r.name));
        if (std.mem.eql(u8, r.op, "forward")) {
            const logits = try engine.forward(arena, r.ids, r.past);
            for (logits) |x| if (!std.math.isFinite(x)) return error.LogitsAreNotFinite;
            return json(arena, .{ .logits = logits });
        }
        if (std.mem.eql(u8, r.op, "encode"))
            return json(arena, .{ .ids = try engine.encode(arena, r.text) });
        if (std.mem.eql(u8, r.op, "decode"))
            return json(arena, .{ .text = try engine.decode(arena, r.ids) });
        if (std.mem.eql(u8, r.op, "probabilities"))
            return json(arena, .{ .probabilities = try engine.probabilities(arena, r) });
        return error.NoSuchOp;
    }
};

fn json(arena: std.mem.Allocator, value: anytype) ![]u8 {
    return std.json.stringifyAlloc(arena, value, .{});
}

pub fn main() !void {
    const args = try std.process.argsAlloc(std.heap.page_allocator);
    if (args.len != 2) {
        std.debug.print("expected the directory of a model\n", .{});
        std.process.exit(2);
    }
    var engine = Engine.load(args[1]) catch |problem| {
        std.debug.print("{s}\n", .{@errorName(problem)}); // standard output is for answers alone
        std.process.exit(1);
    };
    const in = std.io.getStdIn().reader();
    const out = std.io.getStdOut().writer();
    while (true) {
        var memory = std.heap.ArenaAllocator.init(std.heap.page_allocator);
        defer memory.deinit();
        const arena = memory.allocator();
        const line = try in.readUntilDelimiterOrEofAlloc(arena, '\n', 1 << 30) orelse return;
        const answer = engine.answer(arena, line) catch |problem|
            try json(arena, .{ .@"error" = @errorName(problem) }); // an answer to every request
        try out.print("{s}\n", .{answer});
    }
}
