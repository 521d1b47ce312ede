// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis expects a server with appendfsync always, so that an acknowledged record is durable.
type Redis struct{}

const redisKey = "records"

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Connect implements Database.
func (Redis) Connect(ctx context.Context, address string) (Connection, error) {
	redis.SetLogger(silent{}) // a refused connection is expected, and returned
	c := redis.NewClient(&redis.Options{
		Addr: address, DialerRetries: 1, MaxRetries: -1, PoolSize: 1, DialTimeout: connectTimeout,
		ContextTimeoutEnabled: true, DisableIdentity: true,
	})
	if err := c.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return redisConn{c}, nil
}

type redisConn struct{ *redis.Client }

func (c redisConn) Prepare(ctx context.Context) error { return c.Del(ctx, redisKey).Err() }

// appendNext takes only a record beyond the newest. One that was given up and written again by another way may still be on
// its first way, and arrive later. Those before it may be missing: a fail-over loses them.
var appendNext = redis.NewScript(`
local newest = redis.call("LINDEX", KEYS[1], -1)
if tonumber(newest or 0) >= tonumber(ARGV[1]) then
	return redis.error_reply("record " .. ARGV[1] .. " does not follow " .. newest)
end
return redis.call("RPUSH", KEYS[1], ARGV[1])`)

func (c redisConn) Write(ctx context.Context, n int64) error {
	return appendNext.Eval(ctx, c, []string{redisKey}, n).Err()
}

// Has looks at the newest record only: there is one writer, and it counts up.
func (c redisConn) Has(ctx context.Context, n int64) (bool, error) {
	newest, err := c.LRange(ctx, redisKey, -1, -1).Result()
	if err != nil || len(newest) == 0 {
		return false, err
	}
	return newest[0] == strconv.FormatInt(n, 10), nil
}

func (c redisConn) All(ctx context.Context) ([]int64, error) {
	texts, err := c.LRange(ctx, redisKey, 0, -1).Result()
	if err != nil {
		return nil, err
	}
	all := make([]int64, len(texts))
	for i, t := range texts {
		if all[i], err = strconv.ParseInt(t, 10, 64); err != nil {
			return nil, err
		}
	}
	return all, nil
}

const fillTimeout = time.Minute

// FillRedis stores so many values of so many random bytes.
func FillRedis(ctx context.Context, address string, values, size int) error {
	// It writes to disk faster than a busy machine's disk takes it.
	c := redis.NewClient(&redis.Options{Addr: address, DisableIdentity: true, ReadTimeout: fillTimeout, WriteTimeout: fillTimeout})
	pipe := c.Pipeline()
	buf := make([]byte, size)
	source := rand.NewChaCha8([32]byte{1})
	for i := range values {
		if _, err := source.Read(buf); err != nil {
			return errors.Join(err, c.Close())
		}
		pipe.Set(ctx, "fill:"+strconv.Itoa(i), slices.Clone(buf), 0)
	}
	_, err := pipe.Exec(ctx)
	return errors.Join(err, c.Close())
}
