package clients_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

type user struct {
	ID     uint
	Name   string `gorm:"uniqueIndex"`
	Orders []order
	Groups []group `gorm:"many2many:memberships"`
}

type order struct {
	ID     uint
	UserID uint
	User   *user
	Amount int
	gorm.DeletedAt
}

type group struct {
	ID   uint
	Name string
}

// oldUser is the model before the application was updated.
type oldUser struct {
	ID   uint
	Name string
}

func (oldUser) TableName() string { return "users" }

// gormWait is for checkDurable.
func gormWait(t *testing.T, db *gorm.DB) func() string {
	return func() (ok string) {
		require.NoError(t, db.Raw("PRAGMA async_wait").Scan(&ok).Error)
		return ok
	}
}

func TestGORMMigrations(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db, pool := openGORM(t, dsn(path, level))
		require.NoError(t, db.AutoMigrate(&oldUser{}))
		require.True(t, db.Migrator().HasTable("users"))
		require.False(t, db.Migrator().HasIndex(&user{}, "Name"))
		require.NoError(t, db.Create(&oldUser{Name: "Ada"}).Error)
		require.NoError(t, pool.Close())

		// The application is updated, and finds the database of the old one.
		db, pool = openGORM(t, dsn(path, level))
		require.Zero(t, commits(t, path))
		require.NoError(t, db.AutoMigrate(&user{}, &order{}, &group{}))
		migrated := commits(t, path)
		require.NotZero(t, migrated)
		require.True(t, db.Migrator().HasIndex(&user{}, "Name"))
		require.True(t, db.Migrator().HasTable("memberships"))

		// To add a column that is NOT NULL and to drop one, gormlite alters the table or makes it anew.
		type user struct {
			ID    uint
			Name  string
			Email string `gorm:"not null;default:none"`
		}
		require.NoError(t, db.AutoMigrate(&user{}))
		require.True(t, db.Migrator().HasColumn(&user{}, "Email"))
		require.NoError(t, db.Migrator().DropColumn(&order{}, "Amount"))
		require.False(t, db.Migrator().HasColumn(&order{}, "Amount"))
		require.Greater(t, commits(t, path), migrated)
		var u user
		require.NoError(t, db.First(&u).Error)
		require.Equal(t, user{1, "Ada", "none"}, u)

		checkDurable(t, path, level, gormWait(t, db))
		require.NoError(t, pool.Close())
		c := reopen(t, path)
		require.Equal(t, []string{"Ada none"}, query(t, c, "SELECT name || ' ' || email FROM users"))
		require.Equal(t, []string{"groups", "memberships", "orders", "users"},
			query(t, c, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"))
	})
}

func TestGORMTransactions(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db, pool := openGORM(t, dsn(path, level))
		require.NoError(t, db.AutoMigrate(&user{}, &order{}, &group{}))
		start := commits(t, path)

		// One commit, less what the inner transaction, which is a savepoint, takes back.
		require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
			if err := tx.Create(&user{Name: "Ada"}).Error; err != nil {
				return err
			}
			err := tx.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Create(&user{Name: "undone"}).Error, errRefused)
			})
			if !errors.Is(err, errRefused) {
				return fmt.Errorf("inner transaction: %w", err)
			}
			return tx.Create(&user{Name: "Grace"}).Error
		}))
		require.Equal(t, start+1, commits(t, path))

		require.ErrorIs(t, db.Transaction(func(tx *gorm.DB) error {
			return errors.Join(tx.Where("1 = 1").Delete(&user{}).Error, errRefused)
		}), errRefused)

		// By hand.
		tx := db.Begin()
		require.NoError(t, tx.Create(&user{Name: "undone"}).Error)
		require.NoError(t, tx.Rollback().Error)
		tx = db.Begin()
		require.NoError(t, tx.Create(&user{Name: "Edith"}).Error)
		require.NoError(t, tx.SavePoint("sp").Error)
		require.NoError(t, tx.Create(&user{Name: "undone"}).Error)
		require.NoError(t, tx.RollbackTo("sp").Error)
		require.NoError(t, tx.Commit().Error)
		require.Equal(t, start+2, commits(t, path))

		// Errors reach GORM as they would without the VFS.
		require.ErrorIs(t, db.Create(&user{Name: "Ada"}).Error, gorm.ErrDuplicatedKey)
		require.ErrorIs(t, db.Create(&order{UserID: 99}).Error, gorm.ErrForeignKeyViolated)
		require.Equal(t, start+2, commits(t, path))

		checkDurable(t, path, level, gormWait(t, db))
		require.NoError(t, pool.Close())
		require.Equal(t, []string{"Ada", "Grace", "Edith"}, query(t, reopen(t, path), "SELECT name FROM users ORDER BY id"))
	})
}

func TestGORMAssociations(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		db, pool := openGORM(t, dsn(path, level))
		// As many applications do: GORM keeps each statement prepared.
		db = db.Session(&gorm.Session{PrepareStmt: true})
		require.NoError(t, db.AutoMigrate(&user{}, &order{}, &group{}))
		start := commits(t, path)

		// A commit for a user and all that belongs to it, in four tables.
		ada := user{Name: "Ada", Orders: []order{{Amount: 10}, {Amount: 20}}, Groups: []group{{Name: "admins"}, {Name: "staff"}}}
		require.NoError(t, db.Create(&ada).Error)
		require.Equal(t, start+1, commits(t, path))
		admins := ada.Groups[0]
		grace := user{Name: "Grace", Orders: []order{{Amount: 5}}}
		require.NoError(t, db.Create(&grace).Error)

		require.NoError(t, db.Model(&grace).Association("Orders").Append(&order{Amount: 7}))
		require.NoError(t, db.Model(&grace).Association("Groups").Append(&admins))
		require.NoError(t, db.Model(&ada).Association("Groups").Delete(&admins))
		require.EqualValues(t, 2, db.Model(&grace).Association("Orders").Count())

		var batch []user
		for i := range 250 {
			batch = append(batch, user{Name: fmt.Sprintf("user%03d", i)})
		}
		require.NoError(t, db.CreateInBatches(batch, 100).Error)
		// An insert that turns into an update, an update of many rows, and a delete that only marks.
		require.NoError(t, db.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.AssignmentColumns([]string{"name"}),
		}).Create(&group{ID: admins.ID, Name: "admins only"}).Error)
		updated := db.Model(&order{}).Where("amount < ?", 10).Update("amount", gorm.Expr("amount * 10"))
		require.NoError(t, updated.Error)
		require.EqualValues(t, 2, updated.RowsAffected)
		require.NoError(t, db.Delete(&order{}, "amount = ?", 20).Error)

		var users []user
		require.NoError(t, db.Preload("Orders", func(db *gorm.DB) *gorm.DB { return db.Order("amount") }).
			Preload("Groups").Order("id").Limit(2).Find(&users).Error)
		require.Len(t, users, 2)
		require.Equal(t, "Ada", users[0].Name)
		require.Len(t, users[0].Orders, 1, "the deleted one is found")
		require.Equal(t, 10, users[0].Orders[0].Amount)
		require.Equal(t, []group{{2, "staff"}}, users[0].Groups)
		require.Len(t, users[1].Orders, 2)
		require.Equal(t, 50, users[1].Orders[0].Amount)
		require.Equal(t, 70, users[1].Orders[1].Amount)
		require.Equal(t, []group{{1, "admins only"}}, users[1].Groups)

		var o order
		require.NoError(t, db.Joins("User").Where("amount = ?", 70).First(&o).Error)
		require.NotNil(t, o.User)
		require.Equal(t, "Grace", o.User.Name)
		var sums []struct {
			Name string
			Sum  int
		}
		require.NoError(t, db.Model(&order{}).Select("users.name, sum(amount) AS sum").
			Joins("JOIN users ON users.id = orders.user_id").Group("users.name").Order("sum").Scan(&sums).Error)
		require.Len(t, sums, 2)
		require.Equal(t, 10, sums[0].Sum)
		require.Equal(t, 120, sums[1].Sum)
		require.ErrorIs(t, db.First(&user{}, "name = ?", "nobody").Error, gorm.ErrRecordNotFound)

		checkDurable(t, path, level, gormWait(t, db))
		require.NoError(t, pool.Close())
		c := reopen(t, path)
		require.Equal(t, []string{"252"}, query(t, c, "SELECT count(*) FROM users"))
		require.Equal(t, []string{"10", "20", "50", "70"}, query(t, c, "SELECT amount FROM orders ORDER BY amount"))
		require.Equal(t, []string{"1 2", "2 1"},
			query(t, c, "SELECT user_id || ' ' || group_id FROM memberships ORDER BY user_id"))
	})
}

func TestGORMConcurrent(t *testing.T) {
	eachLevel(t, func(t *testing.T, path, level string) {
		// What reads before it writes has to take the write lock at BEGIN, with any VFS.
		db, pool := openGORM(t, dsn(path, level)+"&_txlock=immediate")
		require.NoError(t, db.AutoMigrate(&user{}, &order{}, &group{}))
		require.NoError(t, db.Create(&user{Name: "Ada", Orders: []order{{Amount: 0}}}).Error)
		start := commits(t, path)

		work := func(worker int) error {
			for round := range rounds {
				err := db.Transaction(func(tx *gorm.DB) error {
					var o order
					if err := tx.First(&o).Error; err != nil {
						return err
					}
					// An update would be lost if two transactions saw the same amount.
					if err := tx.Model(&o).Update("amount", o.Amount+1).Error; err != nil {
						return err
					}
					return tx.Create(&user{Name: fmt.Sprintf("user %d %d", worker, round)}).Error
				})
				if err != nil {
					return err
				}
			}
			return nil
		}
		errs := make(chan error, workers)
		for worker := range workers {
			go func() { errs <- work(worker) }()
		}
		for range workers {
			require.NoError(t, <-errs)
		}
		require.Equal(t, start+workers*rounds, commits(t, path))

		checkDurable(t, path, level, gormWait(t, db))
		require.NoError(t, pool.Close())
		c := reopen(t, path)
		want := []string{fmt.Sprint(workers * rounds)}
		require.Equal(t, want, query(t, c, "SELECT amount FROM orders"))
		require.Equal(t, want, query(t, c, "SELECT count(*) FROM users WHERE name LIKE 'user %'"))
	})
}
