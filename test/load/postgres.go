// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Postgres connects as user postgres; synchronous_commit is on, so an acknowledged
// record is durable.
type Postgres struct{ Password string }

// Connect implements Database.
func (p Postgres) Connect(ctx context.Context, address string) (Connection, error) {
	c, err := pgx.Connect(ctx, "postgres://postgres:"+p.Password+"@"+address+"/postgres?sslmode=disable")
	if err != nil {
		return nil, err
	}
	return postgres{c}, nil
}

type postgres struct{ *pgx.Conn }

func (c postgres) Prepare(ctx context.Context) error {
	// A try whose answer was lost may still be under way when the record is written again: the index makes it one.
	// Reading back goes around the index, so that a row that is there twice is seen twice.
	_, err := c.Exec(ctx, `CREATE TABLE IF NOT EXISTS records (n bigint NOT NULL);
		CREATE UNIQUE INDEX IF NOT EXISTS records_n ON records (n); TRUNCATE records`)
	return err
}

func (c postgres) Write(ctx context.Context, n int64) error {
	_, err := c.Exec(ctx, `INSERT INTO records VALUES ($1) ON CONFLICT DO NOTHING`, n)
	return err
}

func (c postgres) Has(ctx context.Context, n int64) (found bool, err error) {
	err = c.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM records WHERE n = $1)`, n).Scan(&found)
	return found, err
}

func (c postgres) All(ctx context.Context) ([]int64, error) {
	if _, err := c.Exec(ctx, `SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off`); err != nil {
		return nil, err
	}
	rows, err := c.Query(ctx, `SELECT n FROM records`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

func (c postgres) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	return c.Conn.Close(ctx)
}
